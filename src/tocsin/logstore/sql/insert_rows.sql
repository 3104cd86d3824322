-- insert_rows.sql: the commit's rows of RunStatusChanged, in the order in which they came
-- in: live, $ingested TIMESTAMP, $seq BIGINT
INSERT INTO RunStatusChanged
SELECT
    EventId, Source, Consumer, TimeGenerated, $ingested AS IngestedAt, $seq AS CommitSeq, RunId, ParentRunId,
    RootRunId, JobKey, Attempt, WillRetry, Status, OriginalStatus, Reason, Message, ErrorCode, LogTail,
    ExperimentName, WorkspaceName, RunType, DisplayName, Target, TriggeringUserName, OwnerEmail, Progress, Tags,
    Properties, StartTime, coalesce(EndTime, CASE WHEN ended THEN TimeGenerated END) AS EndTime, coalesce(DurationMs, run_ms(ended, StartTime, coalesce(EndTime, TimeGenerated))) AS DurationMs, Url, Raw, TimeGiven, StartDerived, GivenTime
FROM live
