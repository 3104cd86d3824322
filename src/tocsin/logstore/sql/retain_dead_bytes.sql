-- retain_dead_bytes.sql: deletes the oldest dead letters beyond an amount of bytes
-- in: $most BIGINT
DELETE FROM tocsin.dead_letters WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(octet_length(bytes)) OVER (ORDER BY id DESC ROWS UNBOUNDED PRECEDING) AS total FROM tocsin.dead_letters
    )
    WHERE total > $most
)
