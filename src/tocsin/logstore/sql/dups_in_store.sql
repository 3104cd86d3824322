-- dups_in_store.sql: events that the store has: looked for only where their producer times lie (a receipt is none)
-- in: events, $lo and $hi TIMESTAMP; out: rows into dups(n)
INSERT INTO dups
SELECT DISTINCT e.n
FROM RunStatusChanged AS r JOIN events AS e
    ON r.TimeGenerated = e.TimeGenerated AND r.EventId = e.EventId AND r.Source = e.Source
WHERE r.TimeGenerated BETWEEN $lo AND $hi AND r.TimeGiven
    AND e.TimeGenerated BETWEEN $lo AND $hi
    AND e.ok AND e.fault = '' AND e.is_status AND e.TimeGiven
    AND e.n NOT IN (SELECT n FROM dups)
