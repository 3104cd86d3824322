-- new_of_runs.sql: the commit's events of some runs
-- in: live, $runs VARCHAR[]
SELECT
    EventId, Source, Consumer, TimeGenerated, RunId, ParentRunId, RootRunId, JobKey, Attempt, WillRetry, Status,
    OriginalStatus, Reason, Message, ErrorCode, LogTail, ExperimentName, WorkspaceName, RunType, DisplayName,
    Target, TriggeringUserName, OwnerEmail, Progress, Tags, Properties, StartTime, EndTime, DurationMs, Url,
    TimeGiven, received
FROM live
WHERE RunId IN (SELECT unnest($runs))
