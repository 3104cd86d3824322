-- stored_keys.sql: dedupe keys that the store has, of events with one of some ids and a producer's time between two
-- in: $ids VARCHAR[], $lo and $hi TIMESTAMP; out: Source, EventId, TimeGenerated
SELECT Source, EventId, TimeGenerated
FROM RunStatusChanged
WHERE TimeGenerated BETWEEN $lo AND $hi AND TimeGiven AND EventId IN (SELECT unnest($ids))
