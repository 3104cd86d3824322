"""The keys of signed links, kept in the state: a project directory that is copied keeps its links working."""

from __future__ import annotations

from tocsin.model.text.signed import Signer, new_key
from tocsin.state.interface import State

_NAME = "link_keys"


def link_signer(state: State) -> Signer:
    """The signer of this project directory; its first key is made when it is first asked for. Raises StoreError."""
    said = state.get(_NAME)
    if said is None:
        said = new_key().hex()
        state.put(_NAME, said)
    return Signer([bytes.fromhex(word) for word in said.split()])
