-- touch_runs.sql: heartbeats of a small commit, none of which says Progress, move LastSeen of known runs; fewer columns cost less
-- in: moved_runs, $since BIGINT (none of them has a smaller CommitSeq), $seq BIGINT or null; out: rows of tocsin.runs changed
UPDATE tocsin.runs AS r SET LastSeen = greatest(r.LastSeen, m.seen), CommitSeq = coalesce($seq, r.CommitSeq)
FROM (SELECT seen, md5_number(RunId) AS key FROM moved_runs) AS m
WHERE r.CommitSeq >= $since AND r.RunKey = m.key
