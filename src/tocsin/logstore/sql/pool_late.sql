-- pool_late.sql: all events of runs of which something came late, from history and from this commit
-- in: live, late(RunId), $lo and $hi TIMESTAMP (between which the history of these runs lies); out: pool
-- Rows of history are numbered beyond those of the commit.
CREATE OR REPLACE TEMP TABLE pool_late AS
SELECT n::BIGINT AS n, received, EventId, Source, Consumer, TimeGenerated, RunId, ParentRunId, RootRunId, JobKey, Attempt, WillRetry, Status,
    OriginalStatus, Reason, Message, ErrorCode, LogTail, ExperimentName, WorkspaceName, RunType, DisplayName,
    Target, TriggeringUserName, OwnerEmail, Progress, Tags, Properties, StartTime, EndTime, DurationMs, Url,
    TimeGiven
FROM live SEMI JOIN late USING (RunId)
UNION ALL BY NAME
SELECT 1000000000000 + rowid AS n, NULL::TIMESTAMP AS received, EventId, Source, Consumer, TimeGenerated, RunId, ParentRunId, RootRunId, JobKey, Attempt, WillRetry, Status,
    OriginalStatus, Reason, Message, ErrorCode, LogTail, ExperimentName, WorkspaceName, RunType, DisplayName,
    Target, TriggeringUserName, OwnerEmail, Progress, Tags, Properties, StartTime, EndTime, DurationMs, Url,
    TimeGiven
FROM RunStatusChanged SEMI JOIN late USING (RunId)
WHERE TimeGenerated BETWEEN $lo AND $hi
