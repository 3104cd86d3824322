-- history.sql: the stored events of some runs, as they were given
-- in: $runs VARCHAR[], $lo and $hi TIMESTAMP (between which they lie)
SELECT
    EventId, Source, Consumer, TimeGenerated, RunId, ParentRunId, RootRunId, JobKey, Attempt, WillRetry, Status,
    OriginalStatus, Reason, Message, ErrorCode, LogTail, ExperimentName, WorkspaceName, RunType, DisplayName,
    Target, TriggeringUserName, OwnerEmail, Progress, Tags, Properties,
    CASE WHEN NOT StartDerived THEN StartTime END AS StartTime, EndTime,
    CASE WHEN NOT StartDerived THEN DurationMs END AS DurationMs, Url, TimeGiven
FROM RunStatusChanged
WHERE TimeGenerated BETWEEN $lo AND $hi AND RunId IN (SELECT unnest($runs))
