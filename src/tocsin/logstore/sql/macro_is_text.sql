-- macro_is_text.sql: whether a text is surely no object (a text that looks like one is left to the slow reading)
-- in: x VARCHAR or null; out: BOOLEAN
CREATE OR REPLACE TEMP MACRO is_text(x) AS coalesce(NOT x ^@ '{', true)
