"""What makes two failures the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.causes.engine import Found
from tocsin.causes.files import read_causes
from tocsin.causes.fingerprint import VERSION, fingerprint, normalised

CAUSES = read_causes(None).causes
TRACE = (
    "Traceback (most recent call last):\n"
    '  File "/home/{user}/job-{n}/train.py", line {n}, in main\n    step()\n'
    '  File "/opt/venv/lib/python3.11/site-packages/lib/core.py", line {n}, in call\n    raise Odd\n'
    "acme.OddError: cannot fit {n} widgets into '/tmp/{user}/{n}' on node-{n} at 10.0.0.{n}:80{n} 0x7f{n}a 2026-01-0{n}T01:02:03Z"
)


def of(text: str, **row: object) -> str:
    given_ = {"LogTail": text, **row}
    return fingerprint(CAUSES.find(given_), given_)


def test_one_failure_of_different_runs_is_one() -> None:
    first, second = (of(TRACE.format(user=user, n=n)) for user, n in (("ann", 3), ("bela", 7)))
    assert first == second and first.startswith(f"{VERSION}-")


@pytest.mark.parametrize(
    "other",
    [
        TRACE.replace("OddError", "EvenError"), TRACE.replace("in main", "in evaluate"), TRACE.replace("train.py", "test.py"),
        TRACE.replace("widgets", "gadgets"),
    ],
)  # fmt: skip
def test_another_failure_is_another(other: str) -> None:
    assert of(TRACE.format(user="ann", n=3)) != of(other.format(user="ann", n=3))


def test_a_cause_is_its_name_and_its_keys() -> None:
    size = "CUDA out of memory. Tried to allocate {} GiB"
    assert of(size.format(3.41)) == of(size.format("2.00"))
    assert of("ModuleNotFoundError: No module named 'a'") != of("ModuleNotFoundError: No module named 'b'")
    assert of("NVRM: Xid (PCI:0000:07:00): 74, x") != of("NVRM: Xid (PCI:0000:07:00): 62, x")


def test_it_is_the_same_in_every_version() -> None:
    """Known by heart: a fingerprint that changes splits a cause in two, so VERSION has to change with it."""
    assert (
        "1-eeacc53f3909255d318c" == fingerprint(Found(cause="disk-full", reason="infrastructure"), {}) or VERSION != 1
    )
    assert "" == fingerprint(Found(), {})


@given(
    st.integers(0, 10**12),
    st.uuids(),
    st.text("0123456789abcdef", min_size=8, max_size=40).filter(lambda t: not t.isdigit()),
)
def test_what_differs_from_run_to_run_is_replaced(number: int, uuid: object, word: str) -> None:
    text = f"job {{}} of {{}} failed at rank {number % 64}"
    assert normalised(text.format(number, uuid)) == normalised(text.format(7, "123e4567-e89b-12d3-a456-426614174000"))
    assert "rank" not in normalised(f"rank {number}").replace("<rank>", "")
