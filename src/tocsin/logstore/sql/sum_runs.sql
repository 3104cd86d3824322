-- sum_runs.sql: of each touched run what its new events say together, and whether that is enough to know its new state
-- in: live, held; out: sums(RunId, last_n, plain, …)
-- A run is plain where its new events come after all that Runs knows of it, in one try, in an order without ties, with at most
-- one end and that at last, and where the last of them says all that the others say. Others are notified event by event.
CREATE OR REPLACE TEMP TABLE sums AS
WITH line AS (
    SELECT rh, RunId, n, Attempt, TimeGenerated, ended, filled, code, StartTime, Progress, received,
        row_number() OVER w AS o,
        lag(code) OVER w AS code_before,
        lag(TimeGenerated) OVER w AS time_before,
        lag(ended) OVER w AS ended_before,
        lead(n) OVER w IS NULL AS last
    FROM live
    WINDOW w AS (PARTITION BY rh ORDER BY TimeGenerated, ended)
), s AS (
    SELECT rh, min(RunId) AS RunId,
        arg_max(n, o) AS last_n,
        min(TimeGenerated) AS FirstTime,
        max(TimeGenerated) AS LastTime,
        max(TimeGenerated) FILTER (WHERE code IS DISTINCT FROM code_before) AS Since,
        count(*) FILTER (WHERE code IS DISTINCT FROM code_before) AS changes,
        max(Attempt) AS Attempt,
        min(TimeGenerated) FILTER (WHERE code = 6) AS FirstRunning,
        arg_max(StartTime, o) FILTER (WHERE StartTime IS NOT NULL) AS GivenStart,
        arg_max(Progress, o) FILTER (WHERE Progress IS NOT NULL) AS EventProgress,
        max(TimeGenerated) FILTER (WHERE Progress IS NOT NULL) AS EventProgressAt,
        max(received) AS received,
        max(RunId) = min(RunId)
            AND max(Attempt) = min(Attempt)
            AND bool_and(ended_before IS DISTINCT FROM true)
            AND bool_and(NOT coalesce(time_before = TimeGenerated AND ended_before = ended, false))
            AND bit_or(filled) = bit_or(CASE WHEN last THEN filled ELSE 0 END) AS plain
    FROM line
    GROUP BY rh
)
SELECT s.* REPLACE (
    s.plain AND (h.RunId IS NULL OR (
        h.StateTime IS NOT NULL AND h.Attempt = s.Attempt AND s.FirstTime > h.MaxTime
        AND h.Status NOT IN ('Completed', 'Failed', 'Canceled') AND len(h.EndedBy) = 0
    ) ) AS plain)
FROM s LEFT JOIN held AS h ON h.RunId = s.RunId
