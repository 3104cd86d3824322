-- beats_of_commit.sql: what the commit's heartbeats say of each of their runs. Progress counts from the heartbeat that is stored.
-- in: events, Heartbeats, $seq BIGINT; out: beaten (see unknown_runs.sql), FirstSeen apart
CREATE OR REPLACE TEMP TABLE beaten AS
WITH stored AS (
    SELECT RunId, last(Progress ORDER BY ReceivedAt, rowid) AS BeatProgress, max(ReceivedAt) AS BeatAt
    FROM Heartbeats
    WHERE CommitSeq = $seq AND Progress IS NOT NULL
    GROUP BY RunId
), came AS (
    SELECT RunId, arg_max(Source, n) AS Source, arg_max(Consumer, n) AS Consumer, min(received) AS began, max(received) AS LastSeen
    FROM events
    WHERE ok AND fault = '' AND NOT is_status
    GROUP BY RunId
)
SELECT * FROM came LEFT JOIN stored USING (RunId)
