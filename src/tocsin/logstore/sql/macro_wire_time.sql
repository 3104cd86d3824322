-- macro_wire_time.sql: the UTC time that a text of the plain form says, cut to µs; null for any other text
-- in: x VARCHAR; out: TIMESTAMP. The plain form is RFC 3339 with T, seconds, up to 9 digits and a zone, years 1900 to 2099.
CREATE OR REPLACE TEMP MACRO wire_time(x) AS
CASE
    WHEN NOT regexp_full_match(
        x,
        '(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])'
    ) THEN NULL
    WHEN x LIKE '%Z' THEN TRY_CAST(x AS TIMESTAMP)
    ELSE TRY_CAST(x AS TIMESTAMPTZ)::TIMESTAMP
END
