"""The Prometheus beside the demo. That it scrapes, tests/acceptance/test_outside.py shows."""

from pathlib import Path

import pytest

from tocsin.demo.prometheus import prometheus
from tocsin.errors import TocsinError


def test_without_one_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TocsinError, match="apt-get install prometheus"), prometheus("http://127.0.0.1:1", tmp_path):
        pass
