-- retain_commits.sql: forgets commits from before a day; the newest commit stays, the sequencer goes on from it
-- in: $before TIMESTAMP
DELETE FROM tocsin.commits WHERE ingested_at < $before AND seq < (SELECT max(seq) FROM tocsin.commits)
