-- moved_vectors.sql: how many segments of 2048 rows of tocsin.runs have a deleted one
SELECT coalesce(max(part) + 1 - count(*) FILTER (WHERE n = 2048), 0)
FROM (SELECT rowid // 2048 AS part, count(*) AS n FROM tocsin.runs GROUP BY part)
