-- remember_recent.sql: keys of the commit's new events without a producer time
-- in: live, $ingested TIMESTAMP
INSERT INTO tocsin.recent
SELECT md5_number(concat_ws(chr(0), Source, EventId)), $ingested FROM live WHERE NOT TimeGiven AND named
