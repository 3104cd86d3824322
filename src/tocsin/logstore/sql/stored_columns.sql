-- stored_columns.sql: of a stored event what a fold of its run needs, as it was given; to be put behind a SELECT
-- out: columns of RunStatusChanged but for Raw, filled (bits: which of the describing columns say something)
    EventId, Source, Consumer, TimeGenerated, IngestedAt, CommitSeq, RunId, ParentRunId, RootRunId, JobKey, Attempt,
    WillRetry, Status, OriginalStatus, Reason, Message, ErrorCode, LogTail, ExperimentName, WorkspaceName, RunType,
    DisplayName, Target, TriggeringUserName, OwnerEmail, Progress, Tags, Properties,
    CASE WHEN NOT StartDerived THEN StartTime END AS StartTime, EndTime,
    CASE WHEN NOT StartDerived THEN DurationMs END AS DurationMs, Url, TimeGiven,
    ((ParentRunId <> '')::INT << 0) + ((ExperimentName <> '')::INT << 1) + ((WorkspaceName <> '')::INT << 2) +
    ((RunType <> '')::INT << 3) + ((DisplayName <> '')::INT << 4) + ((Target <> '')::INT << 5) +
    ((TriggeringUserName <> '')::INT << 6) + ((OwnerEmail <> '')::INT << 7) + ((Url <> '')::INT << 8) +
    ((Tags <> '{}')::INT << 9) + ((Properties <> '{}')::INT << 10) + ((RootRunId <> RunId)::INT << 11) +
    ((JobKey <> RunId)::INT << 12) AS filled
