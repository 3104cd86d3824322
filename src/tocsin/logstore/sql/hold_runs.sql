-- hold_runs.sql: what Runs holds of the runs that the commit touches
-- in: live, $since BIGINT (those that were active lately have at least this CommitSeq), $old: JSON list of the others, $old_since BIGINT
-- out: held
-- Rows that lie anywhere are first found by their keys: else all columns of all rows would be read.
CREATE OR REPLACE TEMP TABLE held AS
SELECT rowid AS row_id, * FROM tocsin.runs WHERE CommitSeq >= $since AND RunId IN (SELECT RunId FROM live)
UNION ALL
SELECT rowid AS row_id, * FROM tocsin.runs WHERE CommitSeq < $since AND rowid IN (
    SELECT rowid FROM tocsin.runs
    WHERE CommitSeq >= $old_since AND CommitSeq < $since AND RunKey IN (SELECT md5_number(unnest(($old::JSON)::VARCHAR[])))
)
