-- follow_events.sql: which events the state of their run follows, as model/run_life.py says it of one run
-- in: placed (see place_events.sql), base (see fold_runs.sql); out: steps
-- Of most runs nothing comes after an end: all events are followed. Of the others an event that is no end is followed where
-- nothing in this Attempt has ended the run, or its Source has (then it reopens the run), or the run was reopened since.
WITH hard AS MATERIALIZED (
    SELECT RunId FROM placed WHERE status_before IN ('Completed', 'Failed', 'Canceled')
    UNION ALL SELECT RunId FROM base WHERE len(EndedBy) > 0
), marked AS (
    SELECT p.*,
        b.Attempt = p.Attempt AND b.Status IN ('Completed', 'Failed', 'Canceled') AS had_ended,
        CASE WHEN ended THEN true
            WHEN TimeGiven IS DISTINCT FROM false AND (
                coalesce(bool_or(ended) OVER w, false) OR coalesce(b.Attempt = p.Attempt AND list_contains(b.EndedBy, p.Source), false)
            ) THEN false END AS ends
    FROM placed AS p SEMI JOIN hard USING (RunId) LEFT JOIN base AS b ON b.RunId = p.RunId
    WINDOW w AS (PARTITION BY p.RunId, p.Attempt, p.Source ORDER BY p.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), followed AS (
    SELECT *, ends IS NOT NULL OR NOT coalesce(lag(ends IGNORE NULLS) OVER w, had_ended, false) AS follows
    FROM marked
    WINDOW w AS (PARTITION BY RunId, Attempt ORDER BY place)
)
SELECT n, RunId, Attempt, Source, EventId, Status, TimeGenerated, IngestedAt, CommitSeq, StartTime, Progress, filled, ended, place, follows, attempt_before,
    lag(CASE WHEN follows THEN Status END IGNORE NULLS) OVER (PARTITION BY RunId ORDER BY place) AS status_before,
    max(Attempt) OVER (PARTITION BY RunId) = Attempt AS newest
FROM followed
UNION ALL
SELECT n, RunId, Attempt, Source, EventId, Status, TimeGenerated, IngestedAt, CommitSeq, StartTime, Progress, filled, ended, place, true, attempt_before,
    status_before, true
FROM placed ANTI JOIN hard USING (RunId)
