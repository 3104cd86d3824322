-- beats_make_runs.sql: heartbeats of unknown runs make rows of them
-- in: beaten, $since BIGINT (none of their runs has a smaller CommitSeq), $ingested TIMESTAMP, $seq BIGINT
WITH beaten AS (
    SELECT *, $ingested::TIMESTAMP AS FirstSeen, $seq::BIGINT AS CommitSeq
    FROM temp.beaten ANTI JOIN (SELECT RunId FROM tocsin.runs WHERE CommitSeq >= $since) AS r USING (RunId)
)
