-- hold_old.sql: what Runs holds of some runs that were not active lately
-- in: $since, $before BIGINT (their CommitSeqs lie between), $old: JSON list of the runs; out: rows of held
-- They are first found by their keys: else all columns of all rows would be read.
INSERT INTO held SELECT rowid AS row_id, * FROM tocsin.runs WHERE CommitSeq < $before AND rowid IN (
    SELECT rowid FROM tocsin.runs
    WHERE CommitSeq >= $since AND CommitSeq < $before AND RunKey IN (SELECT md5_number(unnest(($old::JSON)::VARCHAR[])))
)
