-- create_internal.sql: the schema of what only the store itself reads
-- runs: the columns of `Runs`, then what the next event of a run needs so that its history need not be read:
--   StateTime, StateEvent   the event that the state comes from; null while only heartbeats came
--   MaxTime … MaxEvent      with Attempt the greatest event in event-time order: what comes after it needs no history
--   EndedBy                  sources that said a terminal status in the current Attempt
--   AttemptNumbers                   Attempts seen
--   GivenStart, FirstRunning, GivenEnd, GivenMs   what StartTime, EndTime and DurationMs come from
--   EventProgress, EventProgressAt, BeatProgress, BeatAt   what Progress comes from
--   TagPatch, PropertyPatch  what people set: values, null where they removed one; null where they did nothing
--   RunKey, JobHash         hashes of RunId and JobKey: to find a few runs by them is to compare numbers, not to unpack texts. RunKey
--                           stands for its RunId (md5, 128 bits); of a JobHash (64 bits) the JobKey is looked at too
--   It has no primary key: rows are deleted and inserted, which is ten times as fast.
-- positions: the next offset to read; made orders the ids of a topic that was recreated
-- run_keys: hashes of RunIds, sorted, with the CommitSeq of the run's row (or an older one), as of commit meta.keys_upto
-- run_updates: what people had set of a run, after each change of it
-- recent: keys of events without a producer time
CREATE SCHEMA tocsin;
CREATE TABLE tocsin.meta (version INTEGER, pair_id VARCHAR, mirror_seq BIGINT, keys_upto BIGINT DEFAULT 0);
CREATE TABLE tocsin.run_keys (hash UBIGINT, seq BIGINT);
CREATE TABLE tocsin.commits (seq BIGINT, ingested_at TIMESTAMP, rows BIGINT, heartbeats BIGINT);
CREATE TABLE tocsin.positions (
    cluster VARCHAR, topic_id VARCHAR, topic VARCHAR, "partition" INTEGER, next BIGINT, made TIMESTAMP
);
CREATE TABLE tocsin.consumers (name VARCHAR, first_start TIMESTAMP, last_alive TIMESTAMP);
CREATE TABLE tocsin.recent (key UHUGEINT, seen TIMESTAMP);
CREATE TABLE tocsin.run_updates (RunId VARCHAR, CommitSeq BIGINT, Description VARCHAR, TagPatch JSON, PropertyPatch JSON);
CREATE TABLE tocsin.dead_letters (
    id BIGINT, Time TIMESTAMP, Consumer VARCHAR, Topic VARCHAR, "Partition" INTEGER, "Offset" BIGINT, Reason VARCHAR,
    Detail VARCHAR, Payload VARCHAR, PayloadHash VARCHAR, ReplayedAt TIMESTAMP, bytes BLOB, whole BOOLEAN
);
CREATE TABLE tocsin.runs (
    RunId VARCHAR, ParentRunId VARCHAR, RootRunId VARCHAR, JobKey VARCHAR, WillRetry BOOLEAN,
    OriginalStatus VARCHAR, Reason VARCHAR, Message VARCHAR, ErrorCode VARCHAR, LogTail VARCHAR,
    ExperimentName VARCHAR, WorkspaceName VARCHAR, RunType VARCHAR, DisplayName VARCHAR, Target VARCHAR,
    TriggeringUserName VARCHAR, OwnerEmail VARCHAR, Tags JSON, Properties JSON, Url VARCHAR, Source VARCHAR,
    Consumer VARCHAR, Status VARCHAR, StatusSince TIMESTAMP, FirstSeen TIMESTAMP, LastSeen TIMESTAMP,
    StartTime TIMESTAMP, EndTime TIMESTAMP, DurationMs BIGINT, Attempt INTEGER, Attempts INTEGER, Progress DOUBLE,
    FirstTime TIMESTAMP, LastTime TIMESTAMP, CommitSeq BIGINT, Description VARCHAR,
    StateTime TIMESTAMP, StateEvent VARCHAR, MaxTime TIMESTAMP, MaxTerminal BOOLEAN, MaxSource VARCHAR, MaxEvent VARCHAR,
    EndedBy VARCHAR[], AttemptNumbers INTEGER[], GivenStart TIMESTAMP, FirstRunning TIMESTAMP, GivenEnd TIMESTAMP, GivenMs BIGINT,
    EventProgress DOUBLE, EventProgressAt TIMESTAMP, BeatProgress DOUBLE, BeatAt TIMESTAMP, TagPatch JSON, PropertyPatch JSON,
    RunKey UHUGEINT, JobHash UBIGINT
)
