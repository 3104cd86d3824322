"""From a source's messages to rows of the log store.

In: HTTP bodies, Kafka records and pings, with the consumer file that says how to read them.
Out: batches of events and dead letters, each with its place in the source.
Called by: app, which gives connectors a writer; web for HTTP.
Never: opens a store or writes into one.
Start at: connectors/base.py, then consumer.py.
"""
