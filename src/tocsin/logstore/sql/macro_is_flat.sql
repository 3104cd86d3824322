-- macro_is_flat.sql: whether a JSON text holds no object inside an object and no key twice (arrays have been found before)
-- in: x JSON or null; k VARCHAR[], its keys; out: BOOLEAN
CREATE OR REPLACE TEMP MACRO is_flat(x, k) AS
CASE
    WHEN x IS NULL OR NOT x ^@ '{' THEN true
    WHEN contains(x[2:], '{') THEN false
    WHEN len(k) < 2 THEN true
    WHEN len(k) = 2 THEN k[1] <> k[2]
    WHEN len(k) = 3 THEN k[1] <> k[2] AND k[2] <> k[3] AND k[1] <> k[3]
    ELSE list_unique(k) = len(k)
END
