"""One thread computes at a time of those that no alert waits for, and each comes to its turn."""

import threading

from tests.servers.eventually import eventually
from tocsin.turns import PATIENCE, SLICE, step, turn

TURNS = 20


def test_one_thread_works_at_a_time_and_each_gets_turns() -> None:
    """Between two steps the others come: none has done all before another began."""
    order, inside, most = list[str](), 0, 0
    together = threading.Barrier(3)

    def work(name: str) -> None:
        nonlocal inside, most
        together.wait()
        with turn():
            for _ in range(TURNS):
                inside += 1
                most = max(most, inside)
                threading.Event().wait(SLICE)
                order.append(name)
                inside -= 1
                step()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == most
    assert 3 * TURNS == len(order)
    assert {"a", "b", "c"} == set(order[: 2 * TURNS])


def test_who_keeps_its_turn_too_long_stops_nobody() -> None:
    """It may be inside a library, or wait for a lock of who waits for the turn."""
    held, over = threading.Event(), threading.Event()

    def keep() -> None:
        with turn():
            held.set()
            over.wait(10 * PATIENCE)

    keeping = threading.Thread(target=keep)
    keeping.start()
    assert held.wait(1)
    with turn():
        assert keeping.is_alive()
    over.set()
    keeping.join()
    with turn():
        pass
    assert eventually(lambda: not keeping.is_alive())


def test_outside_of_a_turn_a_step_is_nothing() -> None:
    """Small bodies are read in the server's own thread, which must not pause."""
    began = threading.Event()

    def stepped() -> None:
        step()
        began.set()

    with turn():
        other = threading.Thread(target=stepped)
        other.start()
        assert began.wait(PATIENCE / 2)
        other.join()
