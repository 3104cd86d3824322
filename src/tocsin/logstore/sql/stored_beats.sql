-- stored_beats.sql: slots of ten seconds in which heartbeats of some runs are stored, with the last Progress
-- in: $runs VARCHAR[], $since TIMESTAMP; out: RunId, slot, Progress
SELECT RunId, epoch_us(ReceivedAt) // 10000000 AS slot, arg_max(Progress, rowid)
FROM Heartbeats
WHERE ReceivedAt >= $since AND RunId IN (SELECT unnest($runs))
GROUP BY ALL
