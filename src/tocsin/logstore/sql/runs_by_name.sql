-- runs_by_name.sql: what Runs holds of some runs
-- in: $runs VARCHAR[]; out: row_id, columns of tocsin.runs
SELECT rowid AS row_id, * FROM tocsin.runs WHERE RunId IN (SELECT unnest($runs))
