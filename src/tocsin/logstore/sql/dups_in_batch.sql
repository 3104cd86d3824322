-- dups_in_batch.sql: events that came before in the same commit: the same (Source, EventId, TimeGenerated), the first stays
-- in: events; out: rows into dups(n)
INSERT INTO dups
WITH twice AS (SELECT h FROM events WHERE ok AND fault = '' AND is_status AND TimeGiven GROUP BY h HAVING count(*) > 1)
SELECT n FROM (
    SELECT n, row_number() OVER (PARTITION BY Source, EventId, TimeGenerated ORDER BY n) AS copy
    FROM events SEMI JOIN twice USING (h)
    WHERE ok AND fault = '' AND is_status AND TimeGiven
)
WHERE copy > 1
