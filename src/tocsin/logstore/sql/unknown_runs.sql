-- unknown_runs.sql: runs of which only heartbeats came
-- in: beaten(RunId, Source, Consumer, began (receipt of the first), FirstSeen, LastSeen, BeatProgress, BeatAt, CommitSeq)
-- out: columns of tocsin.runs, hashes apart
SELECT RunId,
    '' AS ParentRunId, RunId AS RootRunId, RunId AS JobKey, false AS WillRetry, '' AS OriginalStatus, '' AS Reason,
    '' AS Message, '' AS ErrorCode, '' AS LogTail, '' AS ExperimentName, '' AS WorkspaceName, '' AS RunType,
    '' AS DisplayName, '' AS Target, '' AS TriggeringUserName, '' AS OwnerEmail, '{}' AS Tags, '{}' AS Properties, '' AS Url,
    Source, Consumer, 'Unknown' AS Status, began AS StatusSince, FirstSeen, LastSeen, 0 AS Attempt, 0 AS Attempts,
    BeatProgress AS Progress, CommitSeq, '' AS Description, BeatProgress, BeatAt
FROM beaten
