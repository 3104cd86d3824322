"""The outbox: attempts, caps, digests."""
