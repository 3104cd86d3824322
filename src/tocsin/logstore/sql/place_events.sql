-- place_events.sql: events in event-time order of their runs (SEMANTICS.md)
-- in: line (see fold_runs.sql); out: placed(place: number of an event among those of its run; status_before, attempt_before,
--     filled_before: of the event before it)
SELECT n, RunId, Attempt, Source, EventId, Status, TimeGenerated, IngestedAt, CommitSeq, TimeGiven, StartTime, Progress, filled,
    Status IN ('Completed', 'Failed', 'Canceled') AS ended,
    row_number() OVER w AS place,
    lag(Status) OVER w AS status_before, lag(Attempt) OVER w AS attempt_before, lag(filled) OVER w AS filled_before
FROM line
WINDOW w AS (PARTITION BY RunId ORDER BY Attempt, TimeGenerated, Status IN ('Completed', 'Failed', 'Canceled'), Source, EventId)
