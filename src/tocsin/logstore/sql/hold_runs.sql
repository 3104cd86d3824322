-- hold_runs.sql: what Runs holds of the runs that the commit touches
-- in: live, $since BIGINT (none of them has a smaller CommitSeq); out: held
CREATE OR REPLACE TEMP TABLE held AS
SELECT rowid AS row_id, * FROM tocsin.runs WHERE CommitSeq >= $since AND RunId IN (SELECT RunId FROM live)
