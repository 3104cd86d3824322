-- sum_steps.sql: of each run what its events say together
-- in: steps (see follow_events.sql); out: sums
SELECT RunId,
    arg_max(n, place) FILTER (WHERE follows) AS state_n,
    arg_max(TimeGenerated, place) AS max_time, arg_max(ended, place) AS max_terminal,
    arg_max(Source, place) AS max_source, arg_max(EventId, place) AS max_event,
    bit_or(filled) FILTER (WHERE follows) AS filled,
    max(Attempt) AS attempt,
    min(IngestedAt) AS first_seen, max(IngestedAt) AS last_seen, max(CommitSeq) AS seq,
    min(TimeGenerated) AS first_time, max(TimeGenerated) AS last_time,
    min(TimeGenerated) FILTER (WHERE Status = 'Running') AS first_running,
    list(Attempt) FILTER (WHERE Attempt IS DISTINCT FROM attempt_before) AS numbers,
    list(Source) FILTER (WHERE ended AND newest) AS ended_by,
    arg_max(StartTime, place) FILTER (WHERE follows AND StartTime IS NOT NULL) AS start_time,
    arg_max(Progress, place) FILTER (WHERE follows AND Progress IS NOT NULL) AS progress,
    arg_max(TimeGenerated, place) FILTER (WHERE follows AND Progress IS NOT NULL) AS progress_at,
    arg_max(TimeGenerated, place) FILTER (
        WHERE follows AND (Status IS DISTINCT FROM status_before OR Attempt IS DISTINCT FROM attempt_before)
    ) AS since,
    count(*) FILTER (
        WHERE follows AND (Status IS DISTINCT FROM status_before OR Attempt IS DISTINCT FROM attempt_before)
    ) AS changes
FROM steps
GROUP BY RunId
