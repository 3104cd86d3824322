"""What a batch of intents needs from the state before it is routed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.model.alert import instance_key
from tocsin.model.delivery import Notified
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.state.interface import State

_KEEP = 20_000


class Reading:
    """Reads presentations of rules (they never change under a version, so they are kept) and who was notified."""

    def __init__(self, state: State, infos: dict[str, RuleInfo]) -> None:
        self._state, self._infos = state, infos

    def of(self, intents: Sequence[Intent]) -> tuple[Mapping[str, RuleInfo], Mapping[str, Sequence[Notified]]]:
        """(presentation, who got the firing mail where one repeats or resolves), both by intent id."""
        infos = {i.id: self._info(i) for i in intents}
        notified = {
            i.id: self._state.notified_addresses(i.rule, instance_key(i.instance), i.occurrence)
            for i in intents
            if i.kind in (IntentKind.RESOLVED, IntentKind.REPEATED)
        }
        return infos, notified

    def _info(self, intent: Intent) -> RuleInfo:
        version = intent.rule_version
        if version not in self._infos:
            found = self._state.info(version)
            if found is None:
                return RuleInfo(name=intent.rule, version=version, summary="")
            if len(self._infos) >= _KEEP:
                self._infos.clear()
            self._infos[version] = found
        return self._infos[version]
