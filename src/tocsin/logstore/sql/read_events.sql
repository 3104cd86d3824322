-- read_events.sql: reads the payloads of `append_batch` into `events`, one row each, typed and with every default in place.
-- in: incoming (see bulk.py), $skew BIGINT (µs that a producer's time may lie after the receipt); macros wire_time, is_flat, is_text
-- out: n, b (batch), ok (false: only the slow reading can say), fault ('' or a DeadReason), is_status, TimeGiven (a producer's time), named
--      (a producer's id), the columns of RunStatusChanged but for IngestedAt and CommitSeq, received TIMESTAMP, h (hash of the
--      dedupe key), rh (hash of RunId), ended, bare (ended, with neither start nor length), code (of Status), filled (which of the
--      describing columns say something)
-- `ok` is proof that both readings agree. Every member is known, none comes twice (as many keys as values were found), no
-- object lies where a text is meant, Tags and Properties are flat and hold no key twice, and times have the plain form.
WITH parsed AS (
    SELECT *, TRY(json_transform(p, '{
      "specversion":"VARCHAR", "id":"VARCHAR", "source":"VARCHAR", "type":"VARCHAR", "time":"VARCHAR",
      "datacontenttype":"VARCHAR", "dataschema":"VARCHAR", "subject":"VARCHAR",
      "data":{
        "RunId":"VARCHAR", "ParentRunId":"VARCHAR", "RootRunId":"VARCHAR", "JobKey":"VARCHAR", "Status":"VARCHAR",
        "OriginalStatus":"VARCHAR", "Reason":"VARCHAR", "Message":"VARCHAR", "ErrorCode":"VARCHAR",
        "LogTail":"VARCHAR", "ExperimentName":"VARCHAR", "WorkspaceName":"VARCHAR", "RunType":"VARCHAR",
        "DisplayName":"VARCHAR", "Target":"VARCHAR", "TriggeringUserName":"VARCHAR", "OwnerEmail":"VARCHAR",
        "Url":"VARCHAR", "Attempt":"VARCHAR", "WillRetry":"VARCHAR", "Progress":"VARCHAR", "StartTime":"VARCHAR",
        "EndTime":"VARCHAR", "DurationMs":"VARCHAR", "Tags":"JSON", "Properties":"JSON"
      }
    }')) AS e,
        TRY(json_keys(p, ['$', '$.data', '$.data.Tags', '$.data.Properties'])) AS k
    FROM incoming
), fields AS (
    SELECT n, b, p, raw, sure, own, consumer, received, unsure_retry, e, e.type AS type,
        CASE WHEN sure THEN TRY_CAST(e.time AS TIMESTAMP) ELSE wire_time(e.time) END AS happened,
        CASE WHEN sure THEN TRY_CAST(e.data.StartTime AS TIMESTAMP) ELSE wire_time(e.data.StartTime) END AS StartTime,
        CASE WHEN sure THEN TRY_CAST(e.data.EndTime AS TIMESTAMP) ELSE wire_time(e.data.EndTime) END AS EndTime,
        make_timestamp(t) AS fallback,
        sure OR coalesce(
            NOT odd
            AND e.type IN ('tocsin.run.status', 'tocsin.run.heartbeat')
            AND len(k[1]) = (
                (e.specversion IS NOT NULL)::INT + (e.id IS NOT NULL)::INT + (e.source IS NOT NULL)::INT +
                (e.type IS NOT NULL)::INT + (e.time IS NOT NULL)::INT + (e.datacontenttype IS NOT NULL)::INT +
                (e.dataschema IS NOT NULL)::INT + (e.subject IS NOT NULL)::INT + (e.data IS NOT NULL)::INT
            )
            AND len(k[2]) > 0
            AND len(k[2]) = (
                (e.data.RunId IS NOT NULL)::INT + (e.data.ParentRunId IS NOT NULL)::INT +
                (e.data.RootRunId IS NOT NULL)::INT + (e.data.JobKey IS NOT NULL)::INT +
                (e.data.Status IS NOT NULL)::INT + (e.data.OriginalStatus IS NOT NULL)::INT +
                (e.data.Reason IS NOT NULL)::INT + (e.data.Message IS NOT NULL)::INT +
                (e.data.ErrorCode IS NOT NULL)::INT + (e.data.LogTail IS NOT NULL)::INT +
                (e.data.ExperimentName IS NOT NULL)::INT + (e.data.WorkspaceName IS NOT NULL)::INT +
                (e.data.RunType IS NOT NULL)::INT + (e.data.DisplayName IS NOT NULL)::INT +
                (e.data.Target IS NOT NULL)::INT + (e.data.TriggeringUserName IS NOT NULL)::INT +
                (e.data.OwnerEmail IS NOT NULL)::INT + (e.data.Url IS NOT NULL)::INT +
                (e.data.Attempt IS NOT NULL)::INT + (e.data.WillRetry IS NOT NULL)::INT +
                (e.data.Progress IS NOT NULL)::INT + (e.data.StartTime IS NOT NULL)::INT +
                (e.data.EndTime IS NOT NULL)::INT + (e.data.DurationMs IS NOT NULL)::INT +
                (e.data.Tags IS NOT NULL)::INT + (e.data.Properties IS NOT NULL)::INT
            )
            AND is_flat(e.data.Tags, k[3])
            AND is_flat(e.data.Properties, k[4]),
            false
        ) AS counted
    FROM parsed
), named AS (
    SELECT n, b, p, raw, consumer, received, own, unsure_retry, fallback, happened, StartTime, EndTime,
        sure OR (
            counted
            AND (happened IS NOT NULL OR coalesce(e.time, '') = '')
            AND (StartTime IS NOT NULL OR coalesce(e.data.StartTime, '') = '')
            AND (EndTime IS NOT NULL OR coalesce(e.data.EndTime, '') = '')
            AND is_text(e.data.RunId) AND is_text(e.data.ParentRunId) AND is_text(e.data.RootRunId) AND
            is_text(e.data.JobKey) AND is_text(e.data.Status) AND is_text(e.data.OriginalStatus) AND
            is_text(e.data.Reason) AND is_text(e.data.Message) AND is_text(e.data.ErrorCode) AND
            is_text(e.data.LogTail) AND is_text(e.data.ExperimentName) AND is_text(e.data.WorkspaceName) AND
            is_text(e.data.RunType) AND is_text(e.data.DisplayName) AND is_text(e.data.Target) AND
            is_text(e.data.TriggeringUserName) AND is_text(e.data.OwnerEmail) AND is_text(e.data.Url) AND
            is_text(e.id) AND is_text(e.source)
        ) AS ok,
        type = 'tocsin.run.status' AS is_status,
        coalesce(happened, CASE WHEN own THEN fallback END) AS given,
        make_timestamp(received + $skew) < coalesce(happened, CASE WHEN own THEN fallback END) IS TRUE AS ahead,
        coalesce(e.id, '') AS id,
        coalesce(e.source, '') AS Source,
        coalesce(e.data.RunId, '') AS RunId,
        coalesce(e.data.Status, '') AS word,
        e
    FROM fields
), clean AS (
    SELECT n, b, ok, is_status,
        CASE WHEN trim(RunId) = '' THEN 'no_run_id' WHEN is_status AND trim(word) = '' THEN 'no_status' ELSE '' END AS fault,
        (happened IS NOT NULL OR own) AND NOT ahead AS TimeGiven,
        id <> '' AS named,
        CASE WHEN id <> '' THEN id ELSE
            'sha256:' || sha256(concat_ws(chr(0), consumer, RunId, word, coalesce(raw, p)))
        END AS EventId,
        Source, consumer AS Consumer,
        CASE WHEN ahead THEN make_timestamp(received) ELSE coalesce(happened, fallback) END AS TimeGenerated,
        CASE WHEN ahead THEN given END AS GivenTime,
        RunId,
        CASE WHEN coalesce(e.data.RootRunId, '') <> '' THEN e.data.RootRunId
            WHEN coalesce(e.data.ParentRunId, '') <> '' THEN e.data.ParentRunId ELSE RunId END AS RootRunId,
        CASE WHEN coalesce(e.data.JobKey, '') <> '' THEN e.data.JobKey ELSE RunId END AS JobKey,
        greatest(coalesce(TRY_CAST(e.data.Attempt AS INTEGER), 0), 0) AS Attempt,
        coalesce(TRY_CAST(e.data.WillRetry AS BOOLEAN), CASE WHEN unsure_retry THEN NULL ELSE false END) AS WillRetry,
        CASE lower(trim(word))
            WHEN 'notstarted' THEN 'NotStarted'
            WHEN 'starting' THEN 'Starting'
            WHEN 'provisioning' THEN 'Provisioning'
            WHEN 'preparing' THEN 'Preparing'
            WHEN 'queued' THEN 'Queued'
            WHEN 'running' THEN 'Running'
            WHEN 'paused' THEN 'Paused'
            WHEN 'notresponding' THEN 'NotResponding'
            WHEN 'finalizing' THEN 'Finalizing'
            WHEN 'cancelrequested' THEN 'CancelRequested'
            WHEN 'completed' THEN 'Completed'
            WHEN 'failed' THEN 'Failed'
            WHEN 'canceled' THEN 'Canceled'
            ELSE 'Unknown' END AS Status,
        CASE WHEN coalesce(e.data.OriginalStatus, '') <> '' THEN e.data.OriginalStatus ELSE word END AS OriginalStatus,
        CASE WHEN coalesce(e.data.Reason, '') = '' THEN ''
            WHEN lower(e.data.Reason) IN ('preempted', 'out_of_memory', 'timeout', 'user_canceled', 'quota', 'infrastructure', 'code_error')
            THEN lower(e.data.Reason) ELSE 'unknown' END AS Reason,
        coalesce(e.data.ParentRunId, '') AS ParentRunId, coalesce(e.data.Message, '') AS Message,
        coalesce(e.data.ErrorCode, '') AS ErrorCode, coalesce(e.data.LogTail, '') AS LogTail,
        coalesce(e.data.ExperimentName, '') AS ExperimentName, coalesce(e.data.WorkspaceName, '') AS WorkspaceName,
        coalesce(e.data.RunType, '') AS RunType, coalesce(e.data.DisplayName, '') AS DisplayName,
        coalesce(e.data.Target, '') AS Target, coalesce(e.data.TriggeringUserName, '') AS TriggeringUserName,
        coalesce(e.data.OwnerEmail, '') AS OwnerEmail, coalesce(e.data.Url, '') AS Url,
        CASE WHEN TRY_CAST(e.data.Progress AS DOUBLE) BETWEEN 0 AND 1 THEN TRY_CAST(e.data.Progress AS DOUBLE) END AS Progress,
        CASE WHEN e.data.Tags ^@ '{' THEN e.data.Tags ELSE '{}' END AS Tags,
        CASE WHEN e.data.Properties ^@ '{' THEN e.data.Properties ELSE '{}' END AS Properties,
        StartTime, EndTime,
        CASE WHEN TRY_CAST(e.data.DurationMs AS BIGINT) >= 0 THEN TRY_CAST(e.data.DurationMs AS BIGINT) END AS DurationMs,
        CASE WHEN raw IS NULL THEN p WHEN json_valid(raw) THEN raw ELSE to_json(CAST(raw AS VARCHAR)) END AS Raw,
        make_timestamp(received) AS received
    FROM named
)
SELECT *,
    false AS StartDerived,
    Status IN ('Completed', 'Failed', 'Canceled') AS ended,
    Status IN ('Completed', 'Failed', 'Canceled') AND StartTime IS NULL AND DurationMs IS NULL AS bare,
    CASE Status
        WHEN 'NotStarted' THEN 1
        WHEN 'Starting' THEN 2
        WHEN 'Provisioning' THEN 3
        WHEN 'Preparing' THEN 4
        WHEN 'Queued' THEN 5
        WHEN 'Running' THEN 6
        WHEN 'Paused' THEN 7
        WHEN 'NotResponding' THEN 8
        WHEN 'Finalizing' THEN 9
        WHEN 'CancelRequested' THEN 10
        WHEN 'Completed' THEN 11
        WHEN 'Failed' THEN 12
        WHEN 'Canceled' THEN 13
        ELSE 0 END AS code,
    ((ParentRunId <> '')::INT << 0) + ((ExperimentName <> '')::INT << 1) + ((WorkspaceName <> '')::INT << 2) +
    ((RunType <> '')::INT << 3) + ((DisplayName <> '')::INT << 4) + ((Target <> '')::INT << 5) +
    ((TriggeringUserName <> '')::INT << 6) + ((OwnerEmail <> '')::INT << 7) + ((Url <> '')::INT << 8) +
    ((Tags <> '{}')::INT << 9) + ((Properties <> '{}')::INT << 10) + ((RootRunId <> RunId)::INT << 11) +
    ((JobKey <> RunId)::INT << 12) AS filled,
    hash(RunId) AS rh,
    hash(Source, EventId, TimeGenerated) AS h
FROM clean
