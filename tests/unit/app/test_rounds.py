"""A round that fails is logged, and the next one comes."""

import threading

from tests.servers.eventually import eventually
from tocsin.app.engine.rounds import Rounds
from tocsin.errors import StoreError


class Failing(Rounds):
    name, every, last_round = "failing", 0.001, True

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = [StoreError("full"), ValueError("unexpected")]
        self.done = 0
        self.go_on = threading.Event()

    def round(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.done += 1
        self.go_on.wait(5)


def test_whatever_a_round_meets_the_next_one_comes_and_a_last_one_at_the_stop() -> None:
    rounds = Failing()
    rounds.start()
    eventually(lambda: rounds.done == 1, within=5)
    stopping = threading.Thread(target=rounds.stop)
    stopping.start()
    eventually(rounds._stop.is_set, within=5)
    rounds.go_on.set()
    stopping.join()
    assert 2 == rounds.done
