-- create_chain.sql: the events of each touched run in event-time order, after the state that the run had
-- in: pool (events of some runs), held (what Runs holds of these runs; goes_on: its state precedes all of them)
-- out: chain(RunId, id, Attempt, Happened, terminal, Source, EventId, Status, given, o, changed, last, top, restless)
--   id: pool.n, null for the state; o: place in the run, from 1; changed: the status or the try begins here; top: greatest
--   Attempt of the run; restless: a non-terminal event after a terminal one of the same try, which may be one that is ignored
CREATE OR REPLACE TEMP TABLE chain AS
WITH links AS (
    SELECT RunId, n AS id, Attempt, TimeGenerated AS Happened, Status IN ('Completed', 'Failed', 'Canceled') AS terminal, Source,
        EventId, Status, TimeGiven AS given
    FROM pool
    UNION ALL
    SELECT RunId, NULL, Attempt, StateTime, Status IN ('Completed', 'Failed', 'Canceled'), Source, StateEvent, Status, true
    FROM held WHERE goes_on
)
SELECT RunId, id, Attempt, Happened, terminal, Source, EventId, Status, given,
    row_number() OVER w AS o,
    lag(Status) OVER w IS DISTINCT FROM Status OR lag(Attempt) OVER w IS DISTINCT FROM Attempt AS changed,
    lead(Attempt) OVER w IS NULL AS last,
    last_value(Attempt) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS top,
    NOT terminal AND coalesce(
        last_value(CASE WHEN terminal THEN Attempt END IGNORE NULLS) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        = Attempt, false
    ) AS restless,
    false AS ignored
FROM links
WINDOW w AS (PARTITION BY RunId ORDER BY Attempt, Happened, terminal, Source, EventId)
