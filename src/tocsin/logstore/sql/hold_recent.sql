-- hold_recent.sql: the same where all of them were active lately
-- in: live, $since BIGINT; out: held
CREATE OR REPLACE TEMP TABLE held AS
SELECT rowid AS row_id, * FROM tocsin.runs WHERE CommitSeq >= $since AND RunId IN (SELECT RunId FROM live)
