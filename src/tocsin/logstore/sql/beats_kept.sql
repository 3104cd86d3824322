-- beats_kept.sql: which heartbeats of the commit are stored: the first of a run in ten seconds, and each change of Progress
-- in: events, Heartbeats, $since TIMESTAMP (ten seconds before the first of them); out: rows into Heartbeats
INSERT INTO Heartbeats
WITH beats AS (
    SELECT n, RunId, received AS ReceivedAt, epoch_us(received) // 10000000 AS slot, Progress
    FROM events
    WHERE ok AND fault = '' AND NOT is_status
), stored AS (
    SELECT -1 AS n, h.RunId, max(h.ReceivedAt) AS ReceivedAt, epoch_us(h.ReceivedAt) // 10000000 AS slot,
        arg_max(h.Progress, h.rowid) AS Progress
    FROM Heartbeats AS h SEMI JOIN beats USING (RunId)
    WHERE h.ReceivedAt >= $since
    GROUP BY h.RunId, slot
), line AS (
    SELECT n, RunId, ReceivedAt, Progress,
        lag(n) OVER w IS NULL AS first,
        last_value(Progress IGNORE NULLS) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (FROM stored UNION ALL BY NAME FROM beats)
    WINDOW w AS (PARTITION BY RunId, slot ORDER BY n)
)
SELECT RunId, ReceivedAt, Progress, $seq
FROM line
WHERE n >= 0 AND (first OR (Progress IS NOT NULL AND Progress IS DISTINCT FROM before))
ORDER BY n
