"""A rule that counts failures, and how time passes for it."""

from tests.unit.rules.conftest import NOON, Engine
from tocsin.config.yaml.durations import parse_duration
from tocsin.model.alert import Phase

MANY = """
rules:
  - name: many
    over: 10m
    every: 1m
    lateness: {lateness}
    query: |
      RunStatusChanged
      | where Status == 'Failed'
      | summarize n = count() by ExperimentName
    condition: n >= 2
    by: [ExperimentName]
    value: n
    {more}
"""


def many(lateness: str = "0s", more: str = "") -> str:
    return MANY.format(lateness=lateness, more=more)


def until(engine: Engine, text: str) -> Engine:
    """Let time pass, evaluating each thing when it is due; what is held stays."""
    end = NOON + parse_duration(text)
    while True:
        source_progress = engine.source_progress()
        due_deadlines = [
            t.due for t in engine.state.timers() if t.due <= end and source_progress.has_reached(t.due, t.consumers)
        ]
        if not due_deadlines:
            break
        engine.clock.set(max(min(due_deadlines), engine.clock.now()))
        engine.tick()
    engine.clock.set(max(end, engine.clock.now()))
    return engine


def failed(n: int, experiment: str = "churn", **columns: object) -> list[dict[str, object]]:
    return [{"RunId": f"{experiment}-{i}", "ExperimentName": experiment, **columns} for i in range(n)]


def phases(engine: Engine, rule: str = "many") -> dict[str, Phase]:
    return {str(s.instance["ExperimentName"]): s.phase for s in engine.state.conditions(rule).values()}
