"""A reader of facts that knows nothing."""

from collections.abc import Sequence

from tocsin.model.intent import Intent
from tocsin.notify.stages.people import RunChange
from tocsin.notify.values import Facts


class NoFacts:
    """Knows nothing."""

    def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
        """Nothing."""
        return {}

    def changes(self, after: int | None) -> tuple[int, Sequence[RunChange]]:
        """Nothing."""
        return after or 0, ()
