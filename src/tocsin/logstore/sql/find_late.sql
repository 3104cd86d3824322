-- find_late.sql: runs of which an event does not come after all that Runs knows of
-- in: live, held; out: late(RunId)
CREATE OR REPLACE TEMP TABLE late AS
SELECT DISTINCT e.RunId
FROM live AS e JOIN held AS h ON h.RunId = e.RunId AND h.goes_on
WHERE e.Attempt < h.Attempt OR (e.Attempt = h.Attempt AND (
    e.TimeGenerated < h.MaxTime OR (e.TimeGenerated = h.MaxTime AND
        (e.Status IN ('Completed', 'Failed', 'Canceled'), e.Source, e.EventId) <= (h.MaxTerminal, h.MaxSource, h.MaxEvent)
    )
))
