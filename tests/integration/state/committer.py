"""A process that commits outcomes until it is killed: `python -m tests.integration.state.committer PATH`.

The outcome n brings WIDTH occurrences, intents and transitions, a delivery for each intent of the one before it, and
the
row cursor n. After each commit the number is printed, and at first the one found.
"""

import sys
from pathlib import Path

from tests.unit.state.builders import NOW, attempted, delivery, intent, occurrence, transition
from tocsin.clock import ManualClock
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

WIDTH = 40


def main(path: Path) -> None:
    state = SqliteState.open(path, clock=ManualClock(NOW))
    print(state.row_cursor(), flush=True)
    while True:
        n = state.row_cursor() + 1
        names = [f"r{n}-{i}" for i in range(WIDTH)]
        state.commit(
            Outcome(
                row_cursor=n,
                occurrences=tuple(occurrence(r) for r in names),
                intents=tuple(intent(r, event={"LogTail": r * 50}) for r in names),
                transitions=tuple(transition(r) for r in names),
            ),
            NOW,
        )
        waiting = state.intents(WIDTH)
        letters = [delivery(f"d-{i.run_id}", intents=(i.id,), message=b"x" * 5000) for i in waiting]
        state.put_deliveries(letters, [i.id for i in waiting], NOW)
        state.attempted([attempted(d.id) for d in letters])
        print(n, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
