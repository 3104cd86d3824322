-- move_runs.sql: heartbeats of a small commit, some of which say Progress, move LastSeen and Progress of known runs
-- in: moved_runs, $since BIGINT (none of them has a smaller CommitSeq), $seq BIGINT or null; out: rows of tocsin.runs changed
UPDATE tocsin.runs AS r SET
    LastSeen = greatest(r.LastSeen, m.seen),
    BeatProgress = coalesce(m.progress, r.BeatProgress),
    BeatAt = coalesce(m.said, r.BeatAt),
    Progress = CASE WHEN m.progress IS NOT NULL AND (r.EventProgressAt IS NULL OR m.said >= r.EventProgressAt)
        THEN m.progress ELSE r.Progress END,
    CommitSeq = coalesce($seq, r.CommitSeq)
FROM (SELECT *, md5_number(RunId) AS key FROM moved_runs) AS m
WHERE r.CommitSeq >= $since AND r.RunKey = m.key
