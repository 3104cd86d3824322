"""How much a JSON text holds, found without building any of it: what is built takes up to 70 times its bytes."""

from __future__ import annotations

import re

from tocsin.model.event import MAX_NESTING

_WINDOW = 64 << 10  # bytes that are cut into pieces at once
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{},"))
_INNERMOST = re.compile(rb"\[,*\]")
_STEP = re.compile(rb"\[|\]|,+")
_DEEPEST = 20_000  # no reader goes so deep: it reads nothing that comes later
_SPARSE = 12  # bytes a value


def is_dense(text: bytes) -> bool:
    """Whether ``text`` may hold more than one value (a member counts as one) in 12 bytes. At fewer it takes at most 20 times its bytes."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") > len(text) // _SPARSE


def more_elements(text: bytes, most: int) -> bool:
    """Whether the array that ``text`` begins with has more than ``most`` elements.

    Where ``text`` is no JSON from some place on, what stands before that place counts. Time is linear in the bytes; memory
    is three times theirs.
    """
    if text.count(b",") < most:
        return False
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")  # now every quote begins or ends a string
    in_string, depth, commas = False, 0, 0
    for start in range(0, len(plain), _WINDOW):
        parts = plain[start : start + _WINDOW].split(b'"')
        outside = b"".join(parts[in_string::2])
        in_string ^= len(parts) % 2 == 0
        for step in _STEP.finditer(_without_inner(outside.translate(_BRACKETS, _OTHERS), depth)):
            if step[0] == b"[":
                depth += 1
                if depth > _DEEPEST:
                    return False
            elif step[0] == b"]":
                depth -= 1
                if depth == 0:
                    return False
            elif depth == 1:
                commas += len(step[0])
                if commas >= most:
                    return True
    return False


def _without_inner(skeleton: bytes, depth: int) -> bytes:
    """``skeleton`` without the brackets that are opened and closed in it, and what is in them."""
    first = 1 if depth == 0 else 0  # the array itself stays, though it may be closed here
    head, rest = skeleton[:first], skeleton[first:]
    for _ in range(MAX_NESTING):
        shorter = _INNERMOST.sub(b"", rest)
        if len(shorter) == len(rest):
            break
        rest = shorter
    return head + rest
