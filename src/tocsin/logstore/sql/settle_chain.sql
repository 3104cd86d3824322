-- settle_chain.sql: finds the events that change nothing: non-terminal ones of an ended run that do not reopen it
-- in: chain, held; out: chain with `ignored` and, among the others, `changed` set
-- A non-terminal event reopens its run where its Source has ended it before in the same try (see alerts/occurrences.py). An
-- event is ignored where no reopening one lies between the last terminal event of the try and itself.
CREATE OR REPLACE TEMP TABLE chain AS
WITH enders AS (
    SELECT c.*,
        max(CASE WHEN c.terminal THEN o END) OVER (
            PARTITION BY c.RunId, c.Attempt ORDER BY o ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS ended,
        NOT c.terminal AND c.given AND coalesce(
            min(CASE WHEN c.terminal THEN o END) OVER (PARTITION BY c.RunId, c.Attempt, c.Source) < o
            OR (c.Attempt = h.Attempt AND list_contains(h.Enders, c.Source)),
            false
        ) AS reopens
    FROM chain AS c LEFT JOIN held AS h ON h.RunId = c.RunId AND h.goes_on
), judged AS (
    SELECT * EXCLUDE (ended, reopens, ignored, changed),
        NOT terminal AND ended IS NOT NULL AND coalesce(
            max(CASE WHEN reopens THEN o END) OVER (PARTITION BY RunId, Attempt ORDER BY o) < ended, true
        ) AS ignored
    FROM enders
)
SELECT *,
    NOT ignored AND (
        lag(Status) OVER w IS DISTINCT FROM Status OR lag(Attempt) OVER w IS DISTINCT FROM Attempt
    ) AS changed
FROM judged
WINDOW w AS (PARTITION BY RunId, ignored ORDER BY o)
