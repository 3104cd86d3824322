-- dups_recent.sql: events with an id but without a producer time that came lately, or before in the same commit
-- in: events, tocsin.recent; out: rows into dups(n)
INSERT INTO dups
WITH untimed AS (
    SELECT n, md5_number(concat_ws(chr(0), Source, EventId)) AS key
    FROM events
    WHERE ok AND fault = '' AND is_status AND NOT TimeGiven AND named
)
SELECT n FROM (SELECT n, row_number() OVER (PARTITION BY key ORDER BY n) AS copy FROM untimed) WHERE copy > 1
UNION
SELECT n FROM untimed SEMI JOIN tocsin.recent USING (key)
