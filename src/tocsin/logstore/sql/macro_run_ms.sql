-- macro_run_ms.sql: milliseconds between start and end of a run that has ended, else null
-- in: ended BOOLEAN, start and finish TIMESTAMP; out: BIGINT
CREATE OR REPLACE TEMP MACRO run_ms(ended, start, finish) AS
CASE WHEN ended AND finish >= start THEN epoch_ms(finish) - epoch_ms(start) END
