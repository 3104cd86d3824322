-- late_runs.sql: runs of which an event came that lies before what Runs knows of them, or is the same
-- in: live, held; out: RunId, FirstTime, LastTime
-- Numbers are compared first: to compare all five as a struct takes ten times as long.
SELECT DISTINCT h.RunId, h.FirstTime, h.LastTime
FROM held AS h JOIN live AS e ON e.RunId = h.RunId AND e.Attempt <= h.Attempt
WHERE h.StateTime IS NOT NULL AND (
    e.Attempt < h.Attempt OR e.TimeGenerated < h.MaxTime OR (
        e.TimeGenerated = h.MaxTime AND (e.ended, e.Source, e.EventId) <= (h.MaxTerminal, h.MaxSource, h.MaxEvent)
    )
)
