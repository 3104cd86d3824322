-- beats_move_runs.sql: heartbeats move LastSeen and Progress of known runs
-- in: events, $since BIGINT (none of their runs has a smaller CommitSeq), $seq BIGINT or null; out: rows of tocsin.runs changed
UPDATE tocsin.runs AS r SET
    LastSeen = greatest(r.LastSeen, b.received),
    BeatProgress = coalesce(b.Progress, r.BeatProgress),
    BeatAt = CASE WHEN b.Progress IS NULL THEN r.BeatAt ELSE b.received END,
    Progress = CASE WHEN b.Progress IS NOT NULL AND (r.EventProgressAt IS NULL OR b.received >= r.EventProgressAt)
        THEN b.Progress ELSE r.Progress END,
    CommitSeq = coalesce($seq, r.CommitSeq)
FROM (
    SELECT RunId, max(received) AS received, arg_max(Progress, n) FILTER (WHERE Progress IS NOT NULL) AS Progress
    FROM events
    WHERE ok AND fault = '' AND NOT is_status
    GROUP BY RunId
) AS b
WHERE r.CommitSeq >= $since AND r.RunId = b.RunId
