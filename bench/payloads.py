"""Canonical events of about 700 bytes with all columns, for benchmarks."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

STEPS = (("Queued", ""), ("Preparing", ""), ("Running", ""), ("Finalizing", ""), ("Completed", ""))
FAILED = ("Failed", "CUDA out of memory. Tried to allocate 2.00 GiB")
EVENT = (
    '{{"specversion":"1.0","type":"tocsin.run.status","id":"{id}","source":"trainer-{worker}","time":"{time}",'
    '"data":{{"RunId":"{run}","ParentRunId":"sweep-{sweep}","RootRunId":"sweep-{sweep}","JobKey":"{run}","Attempt":1,'
    '"WillRetry":false,"Status":"{status}","Reason":"{reason}","Message":"{message}","ErrorCode":"","LogTail":"",'
    '"ExperimentName":"experiment-{experiment}","WorkspaceName":"research","RunType":"training",'
    '"DisplayName":"eager_sail_{experiment}","Target":"aks-eu","TriggeringUserName":"agnes",'
    '"OwnerEmail":"agnes@example.org","Progress":0.5,"Tags":{{"team":"ranking","env":"prod"}},'
    '"Properties":{{"gpus":"8","image":"train:3.2"}},"StartTime":"{start}","Url":"https://runs.example.org/{run}"}}}}'
)


def events(count: int, start: datetime, length: timedelta, *, failing: int = 50) -> Iterator[bytes]:
    """`count` events in order of time over `length`: runs of five events each, many at once, one of `failing` failing.

    Ids are random, as UUIDs are; a run's events lie as far apart as those of 200 runs at once do.
    """
    at_once = 200
    step = length / count
    made = 0
    for group in itertools.count():
        names = [secrets.token_hex(8) for _ in range(at_once)]
        for number, (status, message) in enumerate(STEPS):
            for index, name in enumerate(names):
                if made == count:
                    return
                bad = number == len(STEPS) - 1 and index % failing == 0
                time = (start + step * made).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                yield EVENT.format(
                    id=secrets.token_hex(16),
                    worker=index % 8,
                    time=time,
                    run=f"run-{name}",
                    sweep=group,
                    status=FAILED[0] if bad else status,
                    reason="out_of_memory" if bad else "",
                    message=FAILED[1] if bad else message,
                    experiment=index % 40,
                    start=time,
                ).encode()
                made += 1
