"""When sources could not be heard, and the one alert of a source that is silent."""

from datetime import UTC, datetime, timedelta

from tocsin.alerts.conditions import REPEAT
from tocsin.app import silence
from tocsin.app.hearing import Hearing, spans_of
from tocsin.app.silence import Silence
from tocsin.clock import ManualClock
from tocsin.model.alert import Why
from tocsin.model.intent import IntentKind
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MIN = timedelta(minutes=1)


def state() -> SqliteState:
    return SqliteState.open(None, clock=ManualClock(NOON))


def test_an_outage_and_its_grace_are_deaf() -> None:
    """From when intake was last up until the watermark is near again."""
    hearing = Hearing("kafka", state(), NOON)
    hearing.note(NOON + 40 * MIN, None)
    hearing.note(NOON + 60 * MIN, NOON + 41 * MIN)
    assert 0 == len(hearing.spans)
    hearing.note(NOON + 61 * MIN, NOON + 61 * MIN)
    assert hearing.spans == ((NOON, NOON + 61 * MIN),)


def test_a_broker_that_is_away_is_deaf_and_a_restart_remembers_it() -> None:
    notes = state()
    hearing = Hearing("kafka", notes, NOON)
    hearing.note(NOON, NOON)
    hearing.note(NOON + 5 * MIN, NOON + 4 * MIN)
    hearing.note(NOON + 9 * MIN, NOON + 9 * MIN)
    hearing.note(NOON + 20 * MIN, NOON + 15 * MIN)
    again = Hearing("kafka", notes, NOON + 20 * MIN)
    again.note(NOON + 30 * MIN, NOON + 30 * MIN)
    assert again.spans == ((NOON + 4 * MIN, NOON + 9 * MIN), (NOON + 15 * MIN, NOON + 30 * MIN))


def test_what_is_long_over_is_forgotten() -> None:
    hearing = Hearing("kafka", state(), NOON)
    hearing.note(NOON + MIN, NOON + MIN)
    later = NOON + timedelta(days=9)
    hearing.note(later, later - 5 * MIN)
    hearing.note(later + MIN, later + MIN)
    assert hearing.spans == ((later - 5 * MIN, later + MIN),)


def test_a_backtest_knows_what_rules_need_no_more() -> None:
    notes = state()
    hearing = Hearing("kafka", notes, NOON)
    hearing.note(NOON + MIN, NOON + MIN)
    later = NOON + timedelta(days=100)
    hearing.note(later, later - 5 * MIN)
    known = ((NOON, NOON + MIN), (later - 5 * MIN, later + MIN))
    assert spans_of("kafka", notes, later + MIN) == known
    hearing.note(later + MIN, later + MIN)
    assert (hearing.spans, spans_of("kafka", notes, later + 9 * MIN)) == (known[1:], known)
    assert spans_of("http", notes, later) == ()


class World:
    """A state, and sources that are looked at."""

    def __init__(self) -> None:
        self.state = state()
        self.outcomes: list[Outcome] = []

    def look(self, at: datetime, **sources: Silence) -> None:
        outcome = silence.judge(sources, self.state.conditions(silence.RULE), at, 7)
        if outcome is not None:
            self.state.commit(outcome, at)
            self.outcomes.append(outcome)

    def told(self, kind: IntentKind) -> list[Why]:
        return [i.why for o in self.outcomes for i in o.intents if i.kind is kind]


def source(last: datetime, now: datetime, *, spoke: bool = True) -> Silence:
    return Silence(silent=now > last + 15 * MIN, spoke=spoke, last_heard=last, every=15 * MIN)


def test_a_silent_source_is_one_alert_that_ends_when_it_speaks() -> None:
    world = World()
    for minute in range(60):
        now = NOON + minute * MIN
        world.look(now, hook=source(NOON, now), fine=source(now, now))
    assert world.told(IntentKind.FIRED) == [Why.DEADLINE]
    (told,) = world.outcomes[0].intents
    assert (told.instance, told.at) == ({"Consumer": "hook"}, NOON + 16 * MIN)
    assert told.keep == {"LastHeard": "2026-01-05 12:00:00 UTC", "Every": "15m"}
    world.look(NOON + 61 * MIN, hook=source(NOON + 61 * MIN, NOON + 61 * MIN))
    assert world.told(IntentKind.RESOLVED) == [Why.RECOVERED]
    assert world.state.conditions(silence.RULE) == {}


def test_a_restart_does_not_end_it() -> None:
    """The promise counts from our start again, but the source has not spoken."""
    world = World()
    world.look(NOON + 20 * MIN, hook=source(NOON, NOON + 20 * MIN))
    started = NOON + 30 * MIN
    world.look(started, hook=source(started, started, spoke=False))
    assert world.told(IntentKind.RESOLVED) == []
    world.look(NOON + 20 * MIN + REPEAT, hook=source(started, NOON + 20 * MIN + REPEAT, spoke=False))
    assert world.told(IntentKind.REPEATED) == [Why.STILL_FIRING]


def test_a_source_that_is_gone_ends_quietly() -> None:
    world = World()
    world.look(NOON + 20 * MIN, hook=source(NOON, NOON + 20 * MIN))
    world.look(NOON + 21 * MIN)
    assert world.told(IntentKind.RESOLVED) == []
    assert [t.reason for o in world.outcomes for t in o.transitions] == [Why.DEADLINE, Why.RULE_CHANGED]
    assert world.state.conditions(silence.RULE) == {}
