-- forget_events.sql: of runs that are folded again only receipts and heartbeats are kept
-- in: held, $runs VARCHAR[]
CREATE OR REPLACE TEMP TABLE held AS
FROM (FROM held WHERE NOT list_contains($runs, RunId))
UNION ALL BY NAME
(SELECT row_id, RunId, FirstSeen, LastSeen, CommitSeq, BeatProgress, BeatAt FROM held WHERE list_contains($runs, RunId))
