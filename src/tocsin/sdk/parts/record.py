"""What a workspace keeps of an experiment itself: its id, tags, and whether it is archived."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.session import Session
from tocsin.sdk.text import string_value, string_values


class HasRecord:
    """An Experiment's own row."""

    name: str
    _session: Session

    def _record(self) -> tuple[Any, ...]:
        database = self._session.store.database
        ask = "SELECT id, archived, tags, created_us FROM experiments WHERE name = ?"
        row = database.one(ask, (self.name,))
        if row is None:
            with database.write() as tx:
                tx.execute(
                    "INSERT OR IGNORE INTO experiments (name, id, created_us) VALUES (?, ?, ?)",
                    (self.name, str(uuid.uuid4()), self._session.store.now()),
                )
            row = database.one(ask, (self.name,))
        assert row is not None
        return row

    @property
    def id(self) -> str:
        """Its id, a UUID."""
        return str(self._record()[0])

    @property
    def tags(self) -> dict[str, str | None]:
        """Its tags."""
        out: dict[str, str | None] = json.loads(self._record()[2])
        return out

    def tag(self, key: str, value: str | None = None) -> None:
        """Set a tag of the experiment."""
        self.set_tags({key: string_value(key, value, "tag")})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags of the experiment; others stay."""
        self._store_tags({**self.tags, **string_values(tags, "tag")})

    def remove_tags(self, tags: list[str] | str) -> None:
        """Remove tags of the experiment by key."""
        gone = {tags} if isinstance(tags, str) else set(tags)
        self._store_tags({k: v for k, v in self.tags.items() if k not in gone})

    def _store_tags(self, tags: Mapping[str, str | None]) -> None:
        with self._session.store.database.write() as tx:
            tx.execute("UPDATE experiments SET tags = ? WHERE name = ?", (json.dumps(dict(tags)), self.name))

    def archive(self) -> None:
        """Leave it out of lists; its runs stay."""
        self._archive(1)

    def reactivate(self, new_name: str | None = None) -> None:
        """List it again."""
        if new_name not in (None, self.name):
            raise UserErrorException("reactivate: an experiment keeps its name")
        self._archive(0)

    def _archive(self, archived: int) -> None:
        self._record()
        with self._session.store.database.write() as tx:
            tx.execute("UPDATE experiments SET archived = ? WHERE name = ?", (archived, self.name))
