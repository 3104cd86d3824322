"""Python's collector of garbage, kept from looking through what stays.

Rules, plans and modules are a million objects that live as long as the process. To look through them stops every thread
for 60 to 110 ms, several times a minute under load, and finds nothing.
"""

from __future__ import annotations

import gc

from tocsin.app.engine.allocator import give_back

YOUNG = 700
"""New objects after which the collector comes while tocsin runs: Python's own, where a start sets more (`cli.main`)."""


def set_apart() -> None:
    """Collect what is garbage now and give its memory back; of what is left, nothing is looked through again until
    the next call.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
    give_back()
