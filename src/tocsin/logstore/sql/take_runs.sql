-- take_runs.sql: takes some runs out of Runs
-- in: touched_runs, $since BIGINT (none of them has a smaller CommitSeq); out: columns of tocsin.runs
DELETE FROM tocsin.runs WHERE CommitSeq >= $since AND RunKey IN (SELECT md5_number(RunId) FROM touched_runs) RETURNING *
