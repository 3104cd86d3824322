-- odd_events.sql: what of the fold the commit's events need: follow_events.sql, said_before.sql. Most need neither.
-- in: placed, held
-- out: ended (an event comes after an end of its run), sparse (events of a run say other columns than the one before)
SELECT coalesce(bool_or(status_before IN ('Completed', 'Failed', 'Canceled')), false) OR EXISTS (FROM held WHERE len(EndedBy) > 0) AS ended,
    coalesce(bool_or(filled_before <> filled), false) AS sparse
FROM placed
