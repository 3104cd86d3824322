-- new_positions.sql: the first positions of partitions
-- in: moves, $at TIMESTAMP
INSERT INTO tocsin.positions
SELECT cluster, topic_id, topic, "partition", next, $at
FROM moves ANTI JOIN tocsin.positions USING (cluster, topic_id, "partition")
