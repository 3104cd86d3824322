-- retain_rows.sql: deletes rows of RunStatusChanged from before a day, but for the last row of each open run
-- in: $before TIMESTAMP
DELETE FROM RunStatusChanged
WHERE TimeGenerated < $before
    AND (RunId, Source, EventId, TimeGenerated) NOT IN (
        SELECT (RunId, MaxSource, MaxEvent, MaxTime) FROM tocsin.runs
        WHERE Status NOT IN ('Completed', 'Failed', 'Canceled') AND MaxTime < $before
    )
