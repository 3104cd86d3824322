-- time_buckets.sql: where the producer times of the commit lie, in steps of ten minutes
-- in: events; out: lo, hi TIMESTAMP, in order
SELECT min(TimeGenerated) AS lo, max(TimeGenerated) AS hi
FROM events
WHERE ok AND fault = '' AND is_status AND TimeGiven
GROUP BY epoch_us(TimeGenerated) // 600000000
ORDER BY lo
