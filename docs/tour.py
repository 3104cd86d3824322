"""docs/tour.md: the path of one event, with the line at which each function stands today. `make docs` writes it."""

import ast
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[1] / "src" / "tocsin"


class Stop(NamedTuple):
    file: str  # below src/tocsin
    function: str
    thread: str
    text: str


STOPS = (
    Stop("intake/connectors/http.py", "HttpIntake.__call__", "main", "A POST to `/intake/NAME` arrives, past the token and the limits that `web/guard.py` and `web/connections.py` check. "
         "The consumer reads the body and splits it into events; `_commit` and `_put` hand them on as one batch."),
    Stop("app/engine/writer.py", "Writer.put", "main", "The batch joins a bounded queue. A full queue makes the sender wait, and then answers 503. "
         "The sender gets its 202 when the future that this function returns is done, which is after the commit."),
    Stop("app/engine/writer.py", "Writer._write", "writer", "All batches that wait become one commit. One thread owns all writing."),
    Stop("logstore/duck.py", "DuckLogStore.append", "writer", "Duplicates are dropped, `CommitSeq` and `IngestedAt` are stamped, runs are folded, all in one transaction of DuckDB. "
         "After a kill before its end the sender has no 202 and sends again; after it, the event is a duplicate."),
    Stop("app/run/app.py", "App._committed", "writer", "The evaluator wakes. Nothing is handed over: the evaluator reads on from its cursor. Rows of a small commit are still in memory, those of a large one are read by SQL."),
    Stop("rules/driver/driver.py", "Driver.step", "evaluator", "Chooses what is due: commits beyond the cursor, or timers before them. "
         "Backtests run the same function over history."),
    Stop("rules/kinds/event/kind.py", "EventKind.on_commits", "evaluator", "Event rules look at the new rows. `_match_in_memory` in `commits.py` finds the rules that match, without SQL; "
         "`alerts/decisions.py` decides per run whether it fires, and says why. `rules/emit.py` makes the intent."),
    Stop("state/sql.py", "SqlState.commit", "evaluator", "Transitions, intents and the cursor become durable in one transaction of SQLite. "
         "After a kill before its end the same commits are evaluated again, with the same result. Then the notifier wakes."),
    Stop("notify/notifier.py", "Notifier._pass", "notify", "Reads the intents that wait, a portion at a time."),
    Stop("notify/stages/run.py", "Stages.run", "notify", "Routes and groups each alert (`register`), then applies inhibition, silences and mutes (`suppress`), then collects the messages that are due (`flush`)."),
    Stop("notify/notifier.py", "Notifier._write", "main, notify", "Looks up the facts of the run, renders a message for each recipient within its caps, and writes the deliveries into the outbox. "
         "The same transaction marks the intents as consumed, so a kill neither loses nor doubles them."),
    Stop("notify/delivery/endpoint.py", "EndpointSender._deliver", "main", "Sends one delivery by its channel, for a mail `SmtpChannel`, and writes the answer into the outbox. "
         "A kill between the two sends this one message again: the only place where a message may come twice."),
)  # fmt: skip


def line_of(file: str, function: str) -> int:
    """The line of ``def``. Raises LookupError where the file has no such function."""
    body: list[ast.stmt] = ast.parse((SOURCE / file).read_text()).body
    line = 0
    for name in function.split("."):
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                body, line = node.body, node.lineno
                break
        else:
            raise LookupError(f"src/tocsin/{file} has no {function}; docs/tour.py names it")
    return line


def tour() -> str:
    """The page."""
    out = [
        "# A tour of the code: one event, HTTP to mail",
        "",
        "<!-- Made by `make docs` from docs/tour.py, which looks up each line. -->",
        "",
        "A training run fails, its event is posted to `/intake/events`, `run-failed` fires, and a mail leaves.",
        f"These are the {len(STOPS)} functions to open, in order; half an hour is enough.",
        "Each is named with its file, its line and the thread that runs it.",
        "",
    ]
    for i, stop in enumerate(STOPS, 1):
        where = f"{stop.file}:{line_of(stop.file, stop.function)}"
        out += [f"## {i}. {stop.function}", "", f"`src/tocsin/{where}`, thread: {stop.thread}.", ""]
        out += [*(sentence.rstrip(".") + "." for sentence in stop.text.split(". ")), ""]
    return "\n".join(out)
