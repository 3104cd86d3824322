-- forget_events.sql: of runs that are folded again only receipts, heartbeats and what people set are kept
-- in: held, $runs VARCHAR[]
CREATE OR REPLACE TEMP TABLE held AS
FROM (FROM held WHERE NOT list_contains($runs, RunId))
UNION ALL BY NAME
(SELECT row_id, RunId, FirstSeen, LastSeen, CommitSeq, BeatProgress, BeatAt, Description, TagPatch, PropertyPatch FROM held WHERE list_contains($runs, RunId))
