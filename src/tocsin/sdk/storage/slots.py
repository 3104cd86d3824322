"""Slots of a compute target: at most so many of its runs at once, the oldest first."""

from __future__ import annotations

from collections.abc import Callable

from tocsin.sdk.storage.store import ACTIVE, Store


def wait_for_slot(
    store: Store, run_id: str, target: str, slots: int | None, go_on: Callable[[], bool], *, again: bool = False
) -> bool:
    """Take a slot of ``target``, waiting while ``go_on()`` (which pauses) says True; False where it says otherwise.

    ``again``: a run that lent its slot takes one before those that never had any.
    """
    while True:
        store.reap()  # a run that is gone holds no slot
        if _take(store, run_id, target, slots, again):
            return True
        if not go_on():
            return False


def _take(store: Store, run_id: str, target: str, slots: int | None, again: bool) -> bool:
    with store.database.write() as tx:
        me = tx.execute(f"SELECT num, status FROM runs WHERE run_id = ? AND {ACTIVE}", (run_id,)).fetchone()
        if me is None or (me[1] == "CancelRequested" and not again):
            return False
        if slots is not None:
            taken = tx.execute(
                f"SELECT count(*) FROM runs WHERE target = ? AND slot AND {ACTIVE}", (target,)
            ).fetchone()
            if taken[0] >= slots:
                return False
            older = tx.execute(
                f"SELECT 1 FROM runs WHERE target = ? AND status = 'Queued' AND num < ? AND {ACTIVE} AND NOT slot LIMIT 1",
                (target, me[0]),
            ).fetchone()
            if older and not again:
                return False
        tx.execute("UPDATE runs SET slot = 1 WHERE num = ?", (me[0],))
        return True


def lend(store: Store, run_id: str) -> bool:
    """Give a run's slot to others while it waits for them; whether it had one."""
    with store.database.write() as tx:
        return tx.execute("UPDATE runs SET slot = 0 WHERE run_id = ? AND slot", (run_id,)).rowcount > 0
