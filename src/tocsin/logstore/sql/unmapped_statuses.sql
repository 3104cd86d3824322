-- unmapped_statuses.sql: words of new events that no status map knows, the first of each batch
-- in: live, $most INTEGER; out: b, OriginalStatus
SELECT b, OriginalStatus FROM (SELECT DISTINCT b, OriginalStatus FROM live WHERE Status = 'Unknown')
QUALIFY row_number() OVER (PARTITION BY b ORDER BY OriginalStatus) <= $most
