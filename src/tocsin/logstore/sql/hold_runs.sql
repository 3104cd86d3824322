-- hold_runs.sql: what Runs holds of the runs that the commit touches
-- in: live; out: held(columns of tocsin.runs, goes_on)
CREATE OR REPLACE TEMP TABLE held AS
SELECT *, StateTime IS NOT NULL AS goes_on
FROM tocsin.runs SEMI JOIN (SELECT DISTINCT RunId FROM live) USING (RunId)
