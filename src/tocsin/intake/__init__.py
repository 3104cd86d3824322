"""From a source's messages to rows of the log store."""
