-- beats_make_runs.sql: a heartbeat of an unknown run makes a row of it
-- in: events, $since BIGINT (none of their runs has a smaller CommitSeq), $ingested TIMESTAMP, $seq BIGINT; out: new rows of tocsin.runs
INSERT INTO tocsin.runs BY NAME
SELECT RunId,
    '' AS ParentRunId, RunId AS RootRunId, RunId AS JobKey, false AS WillRetry, '' AS OriginalStatus, '' AS Reason,
    '' AS Message, '' AS ErrorCode, '' AS LogTail, '' AS ExperimentName, '' AS WorkspaceName, '' AS RunType,
    '' AS DisplayName, '' AS Target, '' AS TriggeringUserName, '' AS OwnerEmail, '{}' AS Tags, '{}' AS Properties, '' AS Url,
    arg_max(Source, n) AS Source, arg_max(Consumer, n) AS Consumer, 'Unknown' AS Status, min(received) AS StatusSince,
    $ingested AS FirstSeen, max(received) AS LastSeen, 0 AS Attempt, 0 AS Attempts,
    arg_max(Progress, n) FILTER (WHERE Progress IS NOT NULL) AS Progress,
    $seq AS CommitSeq,
    arg_max(Progress, n) FILTER (WHERE Progress IS NOT NULL) AS BeatProgress,
    max(received) FILTER (WHERE Progress IS NOT NULL) AS BeatAt,
    md5_number(RunId) AS RunKey, md5_number_lower(RunId) AS JobHash
FROM events ANTI JOIN (SELECT RunId FROM tocsin.runs WHERE CommitSeq >= $since) AS r USING (RunId)
WHERE ok AND fault = '' AND NOT is_status
GROUP BY RunId
