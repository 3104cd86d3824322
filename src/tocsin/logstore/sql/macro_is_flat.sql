-- macro_is_flat.sql: whether a JSON text holds no object inside an object and no key twice (arrays have been found before)
-- in: x JSON or null; out: BOOLEAN
CREATE OR REPLACE TEMP MACRO is_flat(x) AS
CASE
    WHEN x IS NULL OR NOT x ^@ '{' OR x = '{}' THEN true
    WHEN contains(x[2:], '{') THEN false
    ELSE list_unique(json_keys(x)) = len(json_keys(x))
END
