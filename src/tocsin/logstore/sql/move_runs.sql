-- move_runs.sql: heartbeats, some of which say Progress, move LastSeen and Progress of known runs, as RunState.beaten does
-- in: moved_runs, $since BIGINT (none of them has a smaller CommitSeq), $seq BIGINT or null; out: rows of tocsin.runs changed
UPDATE tocsin.runs AS r SET
    LastSeen = greatest(r.LastSeen, m.seen),
    BeatProgress = CASE WHEN m.said >= coalesce(r.BeatAt, m.said) THEN m.progress ELSE r.BeatProgress END,
    BeatAt = greatest(r.BeatAt, m.said),
    Progress = CASE WHEN m.said >= greatest(coalesce(r.BeatAt, m.said), coalesce(r.EventProgressAt, m.said))
        THEN m.progress ELSE r.Progress END,
    CommitSeq = coalesce($seq, r.CommitSeq)
FROM (SELECT *, md5_number(RunId) AS key FROM moved_runs) AS m
WHERE r.CommitSeq >= $since AND r.RunKey = m.key
