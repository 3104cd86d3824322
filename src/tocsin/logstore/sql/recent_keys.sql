-- recent_keys.sql: which of some ids came within the last day
-- in: $sources and $ids VARCHAR[], side by side; tocsin.recent; out: Source, EventId
SELECT Source, EventId FROM (SELECT unnest($sources::VARCHAR[]) AS Source, unnest($ids::VARCHAR[]) AS EventId) AS new
SEMI JOIN tocsin.recent AS r ON r.key = md5_number(concat_ws(chr(0), new.Source, new.EventId))
