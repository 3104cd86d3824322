"""What a token is bound to."""

import pytest

from tocsin.intake.bound import Bound


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("lab-*", "lab-7", True),
        ("lab-*", "Lab-7", False),
        ("*-lab", "a\nb-lab", True),
        ("sweep[1]-*", "sweep[1]-a", True),
        ("sweep[1]-*", "sweep1-a", False),
        ("lab-?", "lab-7", False),
        ("[!x]*", "grid-1", False),
    ],
)
def test_an_asterisk_alone_stands_for_others(pattern: str, name: str, fits: bool) -> None:
    assert fits is Bound(runs=(pattern,)).fits(name)
