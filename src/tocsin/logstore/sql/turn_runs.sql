-- turn_runs.sql: what Runs holds of the plain runs after their new events
-- in: sums, events, held, $ingested TIMESTAMP, $seq BIGINT; out: rows of tocsin.runs
-- State and what belongs to it (reason, message, …) come from the last event; what describes a run comes from the last one
-- that says it, so that a sparse last event does not make a run nameless.
INSERT INTO tocsin.runs BY NAME
WITH t AS (
    SELECT s.RunId,
    CASE WHEN e.RootRunId <> e.RunId THEN e.RootRunId ELSE coalesce(h.RootRunId, e.RunId) END AS RootRunId,
    CASE WHEN e.JobKey <> e.RunId THEN e.JobKey ELSE coalesce(h.JobKey, e.RunId) END AS JobKey,
    CASE WHEN e.ParentRunId <> '' THEN e.ParentRunId ELSE coalesce(h.ParentRunId, '') END AS ParentRunId,
    CASE WHEN e.ExperimentName <> '' THEN e.ExperimentName ELSE coalesce(h.ExperimentName, '') END AS ExperimentName,
    CASE WHEN e.WorkspaceName <> '' THEN e.WorkspaceName ELSE coalesce(h.WorkspaceName, '') END AS WorkspaceName,
    CASE WHEN e.RunType <> '' THEN e.RunType ELSE coalesce(h.RunType, '') END AS RunType,
    CASE WHEN e.DisplayName <> '' THEN e.DisplayName ELSE coalesce(h.DisplayName, '') END AS DisplayName,
    CASE WHEN e.Target <> '' THEN e.Target ELSE coalesce(h.Target, '') END AS Target,
    CASE WHEN e.TriggeringUserName <> '' THEN e.TriggeringUserName ELSE coalesce(h.TriggeringUserName, '') END AS TriggeringUserName,
    CASE WHEN e.OwnerEmail <> '' THEN e.OwnerEmail ELSE coalesce(h.OwnerEmail, '') END AS OwnerEmail,
    CASE WHEN e.Url <> '' THEN e.Url ELSE coalesce(h.Url, '') END AS Url,
    e.WillRetry, e.OriginalStatus, e.Reason, e.Message, e.ErrorCode, e.LogTail, e.Source, e.Consumer,
    CASE WHEN e.Tags <> '{}' THEN e.Tags ELSE coalesce(h.Tags, '{}') END AS Tags,
    CASE WHEN e.Properties <> '{}' THEN e.Properties ELSE coalesce(h.Properties, '{}') END AS Properties,
    e.Status,
    CASE WHEN s.changes = 1 AND h.Status = e.Status THEN h.StatusSince ELSE s.Since END AS StatusSince,
    coalesce(h.FirstSeen, $ingested) AS FirstSeen,
    greatest(h.LastSeen, s.received) AS LastSeen,
    s.Attempt,
    least(h.FirstTime, s.FirstTime) AS FirstTime,
    greatest(h.LastTime, s.LastTime) AS LastTime,
    $seq AS CommitSeq,
    e.TimeGenerated AS StateTime, e.EventId AS StateEvent,
    e.TimeGenerated AS MaxTime, e.ended AS MaxTerminal, e.Source AS MaxSource, e.EventId AS MaxEvent,
    CASE WHEN e.ended THEN [e.Source] ELSE []::VARCHAR[] END AS EndedBy,
    coalesce(h.AttemptNumbers, [s.Attempt]) AS AttemptNumbers,
    coalesce(s.GivenStart, h.GivenStart) AS GivenStart,
    least(h.FirstRunning, s.FirstRunning) AS FirstRunning,
    e.EndTime AS GivenEnd,
    e.DurationMs AS GivenMs,
    coalesce(s.EventProgress, h.EventProgress) AS EventProgress,
    coalesce(s.EventProgressAt, h.EventProgressAt) AS EventProgressAt,
    h.BeatProgress, h.BeatAt,
    coalesce(h.Attempts, 1) AS Attempts
    FROM sums AS s JOIN events AS e ON e.n = s.last_n LEFT JOIN held AS h ON h.RunId = s.RunId
    WHERE s.plain
), d AS (
    SELECT *,
    coalesce(GivenStart, FirstRunning) AS StartTime,
    coalesce(GivenEnd, CASE WHEN MaxTerminal THEN StateTime END) AS EndTime,
    CASE WHEN BeatProgress IS NOT NULL AND coalesce(BeatAt >= EventProgressAt, true) THEN BeatProgress
        ELSE EventProgress END AS Progress
    FROM t
)
SELECT *,
    coalesce(GivenMs, CASE WHEN MaxTerminal AND EndTime >= StartTime
        THEN epoch_ms(EndTime) - epoch_ms(StartTime) END) AS DurationMs,
    md5_number(RunId) AS RunKey, md5_number_lower(JobKey) AS JobHash
FROM d
