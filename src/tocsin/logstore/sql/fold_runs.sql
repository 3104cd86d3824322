-- fold_runs.sql: the state of many runs after their events, as model/run_state.py folds those of one
-- in: line: events, columns of RunStatusChanged, n (a number of its own), filled (bits: which of its describing columns say
--     something); base: columns of tocsin.runs, null those of events where the state begins again. No event lies before what the base of
--     its run knows. A line's CommitSeq is its commit's, a base's that of what touched its run last. steps: see follow_events.sql; said: see
--     said_before.sql. out: columns of tocsin.runs, hashes apart
-- State, and what belongs to it, comes from the last event that is followed; what describes a run comes from the last one that
-- says it, so that a sparse last event leaves no run nameless.
states AS (
    SELECT s.RunId,
        coalesce(CASE WHEN e.RootRunId <> e.RunId THEN e.RootRunId END, d.RootRunId, b.RootRunId, s.RunId) AS RootRunId,
        coalesce(CASE WHEN e.JobKey <> e.RunId THEN e.JobKey END, d.JobKey, b.JobKey, s.RunId) AS JobKey,
        coalesce(CASE WHEN e.ParentRunId <> '' THEN e.ParentRunId END, d.ParentRunId, b.ParentRunId, '') AS ParentRunId,
        coalesce(CASE WHEN e.ExperimentName <> '' THEN e.ExperimentName END, d.ExperimentName, b.ExperimentName, '') AS ExperimentName,
        coalesce(CASE WHEN e.WorkspaceName <> '' THEN e.WorkspaceName END, d.WorkspaceName, b.WorkspaceName, '') AS WorkspaceName,
        coalesce(CASE WHEN e.RunType <> '' THEN e.RunType END, d.RunType, b.RunType, '') AS RunType,
        coalesce(CASE WHEN e.DisplayName <> '' THEN e.DisplayName END, d.DisplayName, b.DisplayName, '') AS DisplayName,
        coalesce(CASE WHEN e.Target <> '' THEN e.Target END, d.Target, b.Target, '') AS Target,
        coalesce(CASE WHEN e.TriggeringUserName <> '' THEN e.TriggeringUserName END, d.TriggeringUserName, b.TriggeringUserName, '') AS TriggeringUserName,
        coalesce(CASE WHEN e.OwnerEmail <> '' THEN e.OwnerEmail END, d.OwnerEmail, b.OwnerEmail, '') AS OwnerEmail,
        coalesce(CASE WHEN e.Url <> '' THEN e.Url END, d.Url, b.Url, '') AS Url,
        coalesce(CASE WHEN e.Tags <> '{}' THEN e.Tags END, d.Tags, b.Tags, '{}') AS Tags,
        coalesce(CASE WHEN e.Properties <> '{}' THEN e.Properties END, d.Properties, b.Properties, '{}') AS Properties,
        CASE WHEN e.n IS NULL THEN b.WillRetry ELSE e.WillRetry END AS WillRetry,
        CASE WHEN e.n IS NULL THEN b.OriginalStatus ELSE e.OriginalStatus END AS OriginalStatus,
        CASE WHEN e.n IS NULL THEN b.Reason ELSE e.Reason END AS Reason,
        CASE WHEN e.n IS NULL THEN b.Message ELSE e.Message END AS Message,
        CASE WHEN e.n IS NULL THEN b.ErrorCode ELSE e.ErrorCode END AS ErrorCode,
        CASE WHEN e.n IS NULL THEN b.LogTail ELSE e.LogTail END AS LogTail,
        CASE WHEN e.n IS NULL THEN b.Source ELSE e.Source END AS Source,
        CASE WHEN e.n IS NULL THEN b.Consumer ELSE e.Consumer END AS Consumer,
        CASE WHEN e.n IS NULL THEN b.Status ELSE e.Status END AS Status,
        CASE WHEN e.n IS NULL THEN b.StateTime ELSE e.TimeGenerated END AS StateTime, CASE WHEN e.n IS NULL THEN b.StateEvent ELSE e.EventId END AS StateEvent,
        CASE WHEN e.n IS NULL THEN b.GivenEnd ELSE e.EndTime END AS GivenEnd, CASE WHEN e.n IS NULL THEN b.GivenMs ELSE e.DurationMs END AS GivenMs,
        CASE WHEN s.changes = 0 OR (s.changes = 1 AND b.StateTime IS NOT NULL AND b.Status = e.Status AND b.Attempt = e.Attempt) THEN b.StatusSince
            ELSE s.since END AS StatusSince,
        coalesce(b.FirstSeen, s.first_seen) AS FirstSeen, greatest(s.last_seen, b.LastSeen) AS LastSeen,
        s.attempt AS Attempt,
        least(s.first_time, b.FirstTime) AS FirstTime, greatest(s.last_time, b.LastTime) AS LastTime,
        greatest(s.seq, b.CommitSeq) AS CommitSeq,
        s.max_time AS MaxTime, s.max_terminal AS MaxTerminal, s.max_source AS MaxSource, s.max_event AS MaxEvent,
        list_sort(list_distinct(
            coalesce(s.ended_by, []) || CASE WHEN b.Attempt = s.attempt THEN coalesce(b.EndedBy, []) ELSE [] END
        )) AS EndedBy,
        list_sort(list_distinct(s.numbers || coalesce(b.AttemptNumbers, []))) AS AttemptNumbers,
        coalesce(s.start_time, b.GivenStart) AS GivenStart,
        least(s.first_running, b.FirstRunning) AS FirstRunning,
        coalesce(s.progress, b.EventProgress) AS EventProgress,
        CASE WHEN s.progress IS NULL THEN b.EventProgressAt ELSE s.progress_at END AS EventProgressAt,
        b.BeatProgress, b.BeatAt, coalesce(b.Description, '') AS Description, b.TagPatch, b.PropertyPatch
    FROM sums AS s
        LEFT JOIN line AS e ON e.n = s.state_n
        LEFT JOIN said AS d ON d.RunId = s.RunId
        LEFT JOIN base AS b ON b.RunId = s.RunId
), derived AS (
    SELECT * REPLACE (
            CASE WHEN TagPatch IS NULL THEN Tags ELSE json_merge_patch(Tags, TagPatch) END AS Tags,
            CASE WHEN PropertyPatch IS NULL THEN Properties ELSE json_merge_patch(Properties, PropertyPatch) END AS Properties
        ),
        Status IN ('Completed', 'Failed', 'Canceled') AS ended,
        coalesce(GivenStart, FirstRunning) AS StartTime,
        coalesce(GivenEnd, CASE WHEN ended THEN StateTime END) AS EndTime,
        greatest(len(list_filter(AttemptNumbers, lambda a: a <> 0)), 1) AS Attempts,
        CASE WHEN BeatAt IS NOT NULL AND (EventProgressAt IS NULL OR BeatAt >= EventProgressAt) THEN BeatProgress ELSE EventProgress END AS Progress
    FROM states
)
SELECT * EXCLUDE (ended),
    coalesce(GivenMs, CASE WHEN ended AND EndTime >= StartTime THEN epoch_ms(EndTime) - epoch_ms(StartTime) END) AS DurationMs
FROM derived
