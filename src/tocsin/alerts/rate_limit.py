"""What is kept of an alert about its rule's limit."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.model.details import Digest
from tocsin.model.typed import of_json, to_json

RateLimit = Digest | bool
"""False: it was notified singly; True: nobody was notified; else its digest."""
LIMIT = "limit"
"""Under which it is kept of a condition."""


def kept(limit: RateLimit) -> object:
    """As JSON."""
    return to_json(limit) if isinstance(limit, Digest) else limit


def limit_of(said: object) -> RateLimit:
    """What ``kept`` wrote."""
    return of_json(Digest, said) if isinstance(said, Mapping) else bool(said)
