-- retain_runs.sql: deletes runs that have ended and of which no row is left
-- in: $before TIMESTAMP
DELETE FROM tocsin.runs
WHERE Status IN ('Completed', 'Failed', 'Canceled') AND LastTime < $before
