-- turn_runs.sql: what Runs holds of the touched runs after their new events
-- in: chain, pool, held, $ingested TIMESTAMP, $seq BIGINT; out: columns of tocsin.runs
-- State and what belongs to it (reason, message, …) come from the last event that is not ignored; what describes a run comes
-- from the last one that says it, so that a sparse last event does not make a run nameless.
WITH a AS (
    SELECT c.RunId,
        arg_max(id, o) FILTER (WHERE NOT ignored) AS state,
        max(o) FILTER (WHERE NOT ignored) AS state_o,
        max(c.top) AS Attempt,
        arg_max(Happened, o) FILTER (WHERE NOT ignored) AS StateTime,
        arg_max(c.Status, o) FILTER (WHERE NOT ignored) AS Status,
        arg_max(c.EventId, o) FILTER (WHERE NOT ignored) AS StateEvent,
        arg_max(Happened, o) FILTER (WHERE changed AND id IS NOT NULL) AS Since,
        bool_or(id IS NULL AND o = 1) AS goes_on,
        arg_max(Happened, o) FILTER (WHERE last) AS MaxTime,
        arg_max(c.terminal, o) FILTER (WHERE last) AS MaxTerminal,
        arg_max(c.Source, o) FILTER (WHERE last) AS MaxSource,
        arg_max(c.EventId, o) FILTER (WHERE last) AS MaxEvent,
        list(DISTINCT c.Source) FILTER (WHERE c.terminal AND c.Attempt = c.top AND id IS NOT NULL) AS Enders,
        list(DISTINCT c.Attempt) FILTER (WHERE id IS NOT NULL) AS Tries,
        min(Happened) FILTER (WHERE id IS NOT NULL) AS FirstTime,
        max(Happened) FILTER (WHERE id IS NOT NULL) AS LastTime,
        min(Happened) FILTER (WHERE c.Status = 'Running' AND id IS NOT NULL) AS FirstRunning,
        max(p.received) AS received,
        arg_max(p.StartTime, o) FILTER (WHERE NOT ignored AND p.StartTime IS NOT NULL) AS GivenStart,
        arg_max(p.Progress, o) FILTER (WHERE NOT ignored AND p.Progress IS NOT NULL) AS EventProgress,
        arg_max(Happened, o) FILTER (WHERE NOT ignored AND p.Progress IS NOT NULL) AS EventProgressAt,
        arg_max(p.RootRunId, o) FILTER (WHERE NOT ignored AND p.RootRunId <> c.RunId) AS RootRunId,
        arg_max(p.JobKey, o) FILTER (WHERE NOT ignored AND p.JobKey <> c.RunId) AS JobKey,
        arg_max(p.Tags, o) FILTER (WHERE NOT ignored AND p.Tags <> '{}') AS Tags,
        arg_max(p.Properties, o) FILTER (WHERE NOT ignored AND p.Properties <> '{}') AS Properties,
        arg_max(p.ParentRunId, o) FILTER (WHERE NOT ignored AND p.ParentRunId <> '') AS ParentRunId,
        arg_max(p.ExperimentName, o) FILTER (WHERE NOT ignored AND p.ExperimentName <> '') AS ExperimentName,
        arg_max(p.WorkspaceName, o) FILTER (WHERE NOT ignored AND p.WorkspaceName <> '') AS WorkspaceName,
        arg_max(p.RunType, o) FILTER (WHERE NOT ignored AND p.RunType <> '') AS RunType,
        arg_max(p.DisplayName, o) FILTER (WHERE NOT ignored AND p.DisplayName <> '') AS DisplayName,
        arg_max(p.Target, o) FILTER (WHERE NOT ignored AND p.Target <> '') AS Target,
        arg_max(p.TriggeringUserName, o) FILTER (WHERE NOT ignored AND p.TriggeringUserName <> '') AS TriggeringUserName,
        arg_max(p.OwnerEmail, o) FILTER (WHERE NOT ignored AND p.OwnerEmail <> '') AS OwnerEmail,
        arg_max(p.Url, o) FILTER (WHERE NOT ignored AND p.Url <> '') AS Url
    FROM chain AS c LEFT JOIN pool AS p ON p.n = c.id
    GROUP BY c.RunId
), b AS (
    SELECT a.RunId,
    coalesce(a.RootRunId, CASE WHEN h.goes_on THEN h.RootRunId END, a.RunId) AS RootRunId,
    coalesce(a.JobKey, CASE WHEN h.goes_on THEN h.JobKey END, a.RunId) AS JobKey,
    coalesce(a.ParentRunId, CASE WHEN h.goes_on THEN h.ParentRunId END, '') AS ParentRunId,
    coalesce(a.ExperimentName, CASE WHEN h.goes_on THEN h.ExperimentName END, '') AS ExperimentName,
    coalesce(a.WorkspaceName, CASE WHEN h.goes_on THEN h.WorkspaceName END, '') AS WorkspaceName,
    coalesce(a.RunType, CASE WHEN h.goes_on THEN h.RunType END, '') AS RunType,
    coalesce(a.DisplayName, CASE WHEN h.goes_on THEN h.DisplayName END, '') AS DisplayName,
    coalesce(a.Target, CASE WHEN h.goes_on THEN h.Target END, '') AS Target,
    coalesce(a.TriggeringUserName, CASE WHEN h.goes_on THEN h.TriggeringUserName END, '') AS TriggeringUserName,
    coalesce(a.OwnerEmail, CASE WHEN h.goes_on THEN h.OwnerEmail END, '') AS OwnerEmail,
    coalesce(a.Url, CASE WHEN h.goes_on THEN h.Url END, '') AS Url,
    CASE WHEN a.state IS NULL THEN h.WillRetry ELSE s.WillRetry END AS WillRetry,
    CASE WHEN a.state IS NULL THEN h.OriginalStatus ELSE s.OriginalStatus END AS OriginalStatus,
    CASE WHEN a.state IS NULL THEN h.Reason ELSE s.Reason END AS Reason,
    CASE WHEN a.state IS NULL THEN h.Message ELSE s.Message END AS Message,
    CASE WHEN a.state IS NULL THEN h.ErrorCode ELSE s.ErrorCode END AS ErrorCode,
    CASE WHEN a.state IS NULL THEN h.LogTail ELSE s.LogTail END AS LogTail,
    CASE WHEN a.state IS NULL THEN h.Source ELSE s.Source END AS Source,
    CASE WHEN a.state IS NULL THEN h.Consumer ELSE s.Consumer END AS Consumer,
    coalesce(a.Tags, CASE WHEN h.goes_on THEN h.Tags END, '{}') AS Tags,
    coalesce(a.Properties, CASE WHEN h.goes_on THEN h.Properties END, '{}') AS Properties,
    a.Status,
    coalesce(a.Since, h.StatusSince) AS StatusSince,
    coalesce(h.FirstSeen, $ingested) AS FirstSeen,
    greatest(h.LastSeen, a.received) AS LastSeen,
    a.Attempt,
    CASE WHEN h.goes_on THEN least(h.FirstTime, a.FirstTime) ELSE a.FirstTime END AS FirstTime,
    CASE WHEN h.goes_on THEN greatest(h.LastTime, a.LastTime) ELSE a.LastTime END AS LastTime,
    $seq AS CommitSeq,
    a.StateTime, a.StateEvent, a.MaxTime, a.MaxTerminal, a.MaxSource, a.MaxEvent,
    list_sort(list_distinct(list_concat(coalesce(a.Enders, []), CASE WHEN h.goes_on AND h.Attempt = a.Attempt THEN h.Enders ELSE [] END))) AS Enders,
    list_sort(list_distinct(list_concat(a.Tries, CASE WHEN h.goes_on THEN h.Tries ELSE [] END))) AS Tries,
    coalesce(a.GivenStart, CASE WHEN h.goes_on THEN h.GivenStart END) AS GivenStart,
    CASE WHEN h.goes_on THEN least(h.FirstRunning, a.FirstRunning) ELSE a.FirstRunning END AS FirstRunning,
    CASE WHEN a.state IS NULL THEN h.GivenEnd ELSE s.EndTime END AS GivenEnd,
    CASE WHEN a.state IS NULL THEN h.GivenMs ELSE s.DurationMs END AS GivenMs,
    coalesce(a.EventProgress, CASE WHEN h.goes_on THEN h.EventProgress END) AS EventProgress,
    coalesce(a.EventProgressAt, CASE WHEN h.goes_on THEN h.EventProgressAt END) AS EventProgressAt,
    h.BeatProgress, h.BeatAt
    FROM a LEFT JOIN pool AS s ON s.n = a.state LEFT JOIN held AS h ON h.RunId = a.RunId
), d AS (
    SELECT *,
    coalesce(GivenStart, FirstRunning) AS StartTime,
    coalesce(GivenEnd, CASE WHEN Status IN ('Completed', 'Failed', 'Canceled') THEN StateTime END) AS EndTime,
    greatest(len(list_filter(Tries, lambda t: t > 0)), 1) AS Attempts,
    CASE WHEN BeatAt IS NOT NULL AND BeatProgress IS NOT NULL AND (EventProgressAt IS NULL OR BeatAt >= EventProgressAt)
        THEN BeatProgress ELSE EventProgress END AS Progress
    FROM b
)
SELECT *,
    coalesce(GivenMs, CASE WHEN Status IN ('Completed', 'Failed', 'Canceled') AND EndTime >= StartTime
        THEN epoch_ms(EndTime) - epoch_ms(StartTime) END) AS DurationMs
FROM d
