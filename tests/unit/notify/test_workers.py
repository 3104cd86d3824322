"""How many workers an endpoint gets."""

from tocsin.notify.delivery.circuit import FEW, Workers


def workers(most: int) -> tuple[Workers, list[int]]:
    """Workers, and a list that is as long as they have started workers."""
    started: list[int] = []
    made = Workers(most, lambda: started.append(1))
    made.fill()
    return made, started


def test_they_grow_while_messages_take_long_and_others_wait() -> None:
    made, started = workers(20)
    for seconds, waiting in ((0.1, 2), (0.001, 500)):  # nobody waits; nothing takes long
        made.finished(seconds, waiting)
    assert len(started) == FEW
    for _ in range(50):
        made.finished(0.1, 500)
    assert len(started) == 20


def test_a_refusal_halves_them_and_they_grow_slowly_from_then_on() -> None:
    made, started = workers(50)
    for _ in range(16):
        made.finished(0.1, 500)
    assert len(started) == 20
    made.refuse()
    ended = 0
    while made.too_many:
        made.ended()
        ended += 1
    assert ended == 10
    for _ in range(11):
        made.finished(0.1, 500)
    assert len(started) == 21


def test_those_that_idle_end_but_a_few_and_grow_again() -> None:
    made, started = workers(50)
    for _ in range(4):
        made.finished(0.1, 500)
    for _ in range(20):
        made.idle()
        if made.too_many:
            made.ended()
    assert not made.too_many
    made.finished(0.1, 500)
    assert len(started) == 4 + FEW + 1


def test_one_that_may_have_one_keeps_one() -> None:
    made, started = workers(1)
    made.refuse()
    made.idle()
    made.finished(1, 500)
    assert (len(started), made.too_many) == (1, False)
