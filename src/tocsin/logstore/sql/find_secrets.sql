-- find_secrets.sql: texts in which a secret may stand, and log tails with controls
-- in: events, $secrets VARCHAR (pattern), $tails VARCHAR (pattern of texts that stored_tail changes); out: n, Message, LogTail
SELECT n, Message, LogTail
FROM events
WHERE (Message <> '' AND regexp_matches(Message, $secrets)) OR (LogTail <> '' AND regexp_matches(LogTail, $tails))
