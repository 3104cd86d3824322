-- view_live.sql: what of `events` becomes rows of RunStatusChanged; duplicates have been deleted from it
CREATE OR REPLACE TEMP VIEW live AS SELECT * FROM events WHERE ok AND fault = '' AND is_status
