-- new_events.sql: the commit's events, to fold their runs
-- in: live, $ingested TIMESTAMP, $seq BIGINT; out: as stored_columns.sql, and n
SELECT
    n, EventId, Source, Consumer, TimeGenerated, $ingested::TIMESTAMP AS IngestedAt, $seq::BIGINT AS CommitSeq, RunId,
    ParentRunId, RootRunId, JobKey, Attempt, WillRetry, Status, OriginalStatus, Reason, Message, ErrorCode, LogTail,
    ExperimentName, WorkspaceName, RunType, DisplayName, Target, TriggeringUserName, OwnerEmail, Progress, Tags,
    Properties, StartTime, EndTime, DurationMs, Url, TimeGiven, filled
FROM live
