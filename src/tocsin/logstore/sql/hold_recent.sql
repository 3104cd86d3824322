-- hold_recent.sql: what Runs holds of the runs that the commit touches and that were active lately
-- in: live, $since BIGINT; out: held
CREATE OR REPLACE TEMP TABLE held AS
SELECT rowid AS row_id, * FROM tocsin.runs WHERE CommitSeq >= $since AND RunId IN (SELECT RunId FROM live)
