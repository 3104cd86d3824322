-- remember_keys.sql: ids of events that have no row in RunStatusChanged
-- in: $sources and $ids VARCHAR[], side by side, $ingested TIMESTAMP; out: rows into tocsin.recent
INSERT INTO tocsin.recent
SELECT md5_number(concat_ws(chr(0), Source, EventId)), $ingested
FROM (SELECT unnest($sources::VARCHAR[]) AS Source, unnest($ids::VARCHAR[]) AS EventId)
