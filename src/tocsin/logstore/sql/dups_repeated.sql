-- dups_repeated.sql: events with neither id nor producer time that repeat their run's last event from the same consumer
-- in: events, dups, tocsin.runs; out: rows into dups(n)
INSERT INTO dups
WITH bare AS (
    SELECT DISTINCT RunId, Consumer
    FROM events
    WHERE ok AND fault = '' AND is_status AND NOT TimeGiven AND NOT named
), span AS (
    SELECT min(FirstTime) AS lo, max(LastTime) AS hi FROM tocsin.runs SEMI JOIN bare USING (RunId)
), stored AS (
    SELECT r.RunId, r.Consumer, arg_max(r.EventId, r.rowid) AS EventId
    FROM RunStatusChanged AS r SEMI JOIN bare USING (RunId, Consumer)
    WHERE r.TimeGenerated BETWEEN (SELECT lo FROM span) AND (SELECT hi FROM span)
    GROUP BY ALL
), line AS (
    SELECT -1 AS n, RunId, Consumer, EventId, false AS checked FROM stored
    UNION ALL
    SELECT n, RunId, Consumer, EventId, NOT TimeGiven AND NOT named
    FROM events SEMI JOIN bare USING (RunId, Consumer) ANTI JOIN dups USING (n)
    WHERE ok AND fault = '' AND is_status
)
SELECT n FROM (
    SELECT n, checked, EventId, lag(EventId) OVER (PARTITION BY RunId, Consumer ORDER BY n) AS before FROM line
)
WHERE checked AND EventId = before
