-- said_before.sql: what describes a run, of those whose last followed event leaves out what one before it says
-- in: line (see fold_runs.sql), steps, sums; out: said
SELECT e.RunId,
    arg_max(e.RootRunId, place) FILTER (WHERE e.RootRunId <> e.RunId) AS RootRunId,
    arg_max(e.JobKey, place) FILTER (WHERE e.JobKey <> e.RunId) AS JobKey,
    arg_max(e.ParentRunId, place) FILTER (WHERE e.ParentRunId <> '') AS ParentRunId,
    arg_max(e.ExperimentName, place) FILTER (WHERE e.ExperimentName <> '') AS ExperimentName,
    arg_max(e.WorkspaceName, place) FILTER (WHERE e.WorkspaceName <> '') AS WorkspaceName,
    arg_max(e.RunType, place) FILTER (WHERE e.RunType <> '') AS RunType,
    arg_max(e.DisplayName, place) FILTER (WHERE e.DisplayName <> '') AS DisplayName,
    arg_max(e.Target, place) FILTER (WHERE e.Target <> '') AS Target,
    arg_max(e.TriggeringUserName, place) FILTER (WHERE e.TriggeringUserName <> '') AS TriggeringUserName,
    arg_max(e.OwnerEmail, place) FILTER (WHERE e.OwnerEmail <> '') AS OwnerEmail,
    arg_max(e.Url, place) FILTER (WHERE e.Url <> '') AS Url,
    arg_max(e.Tags, place) FILTER (WHERE e.Tags <> '{}') AS Tags,
    arg_max(e.Properties, place) FILTER (WHERE e.Properties <> '{}') AS Properties
FROM (
    SELECT s.RunId, s.n, s.place FROM sums JOIN steps AS l ON l.n = sums.state_n JOIN steps AS s ON s.RunId = sums.RunId
    WHERE s.follows AND sums.filled <> l.filled
) AS o JOIN line AS e ON e.n = o.n
GROUP BY e.RunId
