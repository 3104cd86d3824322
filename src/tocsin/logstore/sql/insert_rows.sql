-- insert_rows.sql: the commit's rows of RunStatusChanged, with the times that the producer left out derived from the run
-- in: live, turned, $ingested TIMESTAMP, $seq BIGINT
INSERT INTO RunStatusChanged BY NAME
SELECT * REPLACE (
    coalesce(DurationMs, CASE WHEN Status IN ('Completed', 'Failed', 'Canceled') AND EndTime >= StartTime
        THEN epoch_ms(EndTime) - epoch_ms(StartTime) END) AS DurationMs
)
FROM (
    SELECT
        e.EventId, e.Source, e.Consumer, e.TimeGenerated, $ingested AS IngestedAt, $seq AS CommitSeq, e.RunId,
        e.ParentRunId, e.RootRunId, e.JobKey, e.Attempt, e.WillRetry, e.Status, e.OriginalStatus, e.Reason,
        e.Message, e.ErrorCode, e.LogTail, e.ExperimentName, e.WorkspaceName, e.RunType, e.DisplayName, e.Target,
        e.TriggeringUserName, e.OwnerEmail, e.Progress, e.Tags, e.Properties,
        coalesce(e.StartTime, CASE WHEN r.StartTime <= e.TimeGenerated THEN r.StartTime END) AS StartTime,
        coalesce(e.EndTime, CASE WHEN e.Status IN ('Completed', 'Failed', 'Canceled') THEN e.TimeGenerated END) AS EndTime,
        e.DurationMs, e.Url, e.Raw, e.TimeGiven
    FROM live AS e LEFT JOIN turned AS r ON r.RunId = e.RunId
)
