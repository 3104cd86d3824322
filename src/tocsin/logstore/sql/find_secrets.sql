-- find_secrets.sql: texts in which a secret may stand
-- in: events, $secrets VARCHAR (pattern); out: n, Message, LogTail
SELECT n, Message, LogTail
FROM events
WHERE (Message <> '' AND regexp_matches(Message, $secrets)) OR (LogTail <> '' AND regexp_matches(LogTail, $secrets))
