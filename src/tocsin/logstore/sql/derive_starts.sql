-- derive_starts.sql: a terminal event without start and length gets the start that Runs now knows
-- in: events, tocsin.runs, $seq BIGINT (with which all their runs have just been written)
UPDATE events SET StartTime = r.StartTime, StartDerived = true
FROM (SELECT RunId, StartTime FROM tocsin.runs WHERE CommitSeq >= $seq AND RunId IN (SELECT RunId FROM events WHERE bare)) AS r
WHERE events.RunId = r.RunId AND bare AND ok AND fault = '' AND is_status
    AND r.StartTime <= coalesce(events.EndTime, events.TimeGenerated)
