"""Python runs this at its start where PYTHONPATH names the folder: tocsin then sees a clock that is off by
CLOCK_OFF_BY s.

So an hour's outage does not take an hour. The one place that reads the wall clock is the one that is changed.
"""

import os
from datetime import UTC, datetime, timedelta

from tocsin import clock

_off_by = timedelta(seconds=float(os.environ["CLOCK_OFF_BY"]))


def _now(self: clock.SystemClock) -> datetime:
    return datetime.now(UTC) + _off_by


clock.SystemClock.now = _now  # type: ignore[method-assign]
