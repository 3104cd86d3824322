-- view_live.sql: what of `events` becomes rows of RunStatusChanged
-- in: events, dups(n); out: columns of events
CREATE OR REPLACE TEMP VIEW live AS
SELECT * FROM events ANTI JOIN dups USING (n) WHERE ok AND fault = '' AND is_status
