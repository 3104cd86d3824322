-- create_aml_view.sql: RunStatusChanged under Azure's name with Azure's 27 columns, so that queries written for Azure run
-- unchanged. What only Azure has comes from the payload, whose field names may begin with either case.
CREATE VIEW AmlRunStatusChangedEvent AS
SELECT
    '' AS TenantId,
    TimeGenerated,
    coalesce(Raw ->> '$.operationName', Raw ->> '$.OperationName', '') AS OperationName,
    coalesce(Raw ->> '$.operationVersion', Raw ->> '$.OperationVersion', '') AS OperationVersion,
    WorkspaceName,
    coalesce(Raw ->> '$.workspaceId', Raw ->> '$.WorkspaceId', Raw ->> '$.properties.workspaceId', '') AS WorkspaceId,
    RunId,
    ParentRunId,
    RootRunId,
    Status,
    Message,
    TriggeringUserName,
    coalesce(Raw ->> '$.resultType', Raw ->> '$.ResultType', '') AS ResultType,
    coalesce(Raw ->> '$.resultSignature', Raw ->> '$.ResultSignature', '') AS ResultSignature,
    coalesce(Raw ->> '$.resultDescription', Raw ->> '$.ResultDescription', '') AS ResultDescription,
    coalesce(CAST(DurationMs AS VARCHAR), '') AS DurationMs,
    coalesce(Raw ->> '$.callerIpAddress', Raw ->> '$.CallerIpAddress', '') AS CallerIpAddress,
    coalesce(Raw ->> '$.correlationId', Raw ->> '$.CorrelationId', '') AS CorrelationId,
    coalesce(Raw ->> '$.identity', Raw ->> '$.Identity', '') AS Identity,
    coalesce(Raw ->> '$.level', Raw ->> '$.Level', '') AS Level,
    coalesce(Raw ->> '$.location', Raw ->> '$.Location', '') AS Location,
    'tocsin' AS SourceSystem,
    'AmlRunStatusChangedEvent' AS Type,
    coalesce(Raw ->> '$.resourceId', Raw ->> '$.ResourceId', '') AS _ResourceId,
    coalesce(Raw ->> '$.subscriptionId', Raw ->> '$.SubscriptionId', '') AS _SubscriptionId,
    'false' AS _IsBillable,
    CAST(0 AS DOUBLE) AS _BilledSize
FROM RunStatusChanged
