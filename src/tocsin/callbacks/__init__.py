"""Training loops of others log into a run: Keras, Lightning and Transformers. Each is loaded when it is first asked for.

They log, and no more: who starts the run ends it, best by ``with``, so that an exception makes it Failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tocsin.callbacks.keras import KerasCallback
    from tocsin.callbacks.lightning import LightningLogger
    from tocsin.callbacks.transformers import TransformersCallback

_FOUND_IN = {"KerasCallback": "keras", "LightningLogger": "lightning", "TransformersCallback": "transformers"}

__all__ = ["KerasCallback", "LightningLogger", "TransformersCallback"]


def __getattr__(name: str) -> Any:
    if name not in _FOUND_IN:
        raise AttributeError(f"module 'tocsin.callbacks' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"tocsin.callbacks.{_FOUND_IN[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FOUND_IN})
