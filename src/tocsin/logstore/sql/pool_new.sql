-- pool_new.sql: events of runs whose history need not be read
-- in: live, late(RunId); out: pool
CREATE OR REPLACE TEMP VIEW pool AS
SELECT n, received, EventId, Source, Consumer, TimeGenerated, RunId, ParentRunId, RootRunId, JobKey, Attempt, WillRetry, Status,
    OriginalStatus, Reason, Message, ErrorCode, LogTail, ExperimentName, WorkspaceName, RunType, DisplayName,
    Target, TriggeringUserName, OwnerEmail, Progress, Tags, Properties, StartTime, EndTime, DurationMs, Url,
    TimeGiven
FROM live ANTI JOIN late USING (RunId)
