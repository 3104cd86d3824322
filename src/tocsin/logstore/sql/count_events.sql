-- count_events.sql: what the commit's events are
-- in: events, $secrets VARCHAR (pattern), $tails VARCHAR (pattern of texts that stored_tail changes); out: one row of Counts (see commit.py)
SELECT
        count(*) FILTER (WHERE fault <> ''),
    count(*) FILTER (WHERE is_status AND fault = '' AND TimeGiven),
    count(*) FILTER (WHERE is_status AND fault = '' AND NOT TimeGiven AND named),
    count(*) FILTER (WHERE is_status AND fault = '' AND NOT TimeGiven AND NOT named),
    count(*) FILTER (WHERE NOT is_status AND fault = ''),
    count(*) FILTER (
        WHERE (Message <> '' AND regexp_matches(Message, $secrets)) OR (LogTail <> '' AND regexp_matches(LogTail, $tails))
    ),
    count(*) FILTER (WHERE is_status AND fault = '' AND bare),
    count(h) FILTER (WHERE is_status AND fault = '' AND TimeGiven) - count(DISTINCT h) FILTER (WHERE is_status AND fault = '' AND TimeGiven),
    min(TimeGenerated) FILTER (WHERE is_status AND fault = '' AND TimeGiven),
    max(TimeGenerated) FILTER (WHERE is_status AND fault = '' AND TimeGiven),
    min(received),
    count(*) FILTER (WHERE is_status AND fault = '' AND GivenTime IS NOT NULL)
FROM events
