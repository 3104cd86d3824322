-- move_positions.sql: sets the next offset to read of partitions that have a position
-- in: moves
UPDATE tocsin.positions AS p SET next = m.next
FROM moves AS m
WHERE p.cluster = m.cluster AND p.topic_id = m.topic_id AND p."partition" = m."partition"
