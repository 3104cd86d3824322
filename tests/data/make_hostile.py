"""Makes hostile.jsonl: 500 requests to the intake that somebody might send to hurt. The same ones each time.

    python -m tests.data.make_hostile

A line is ``{"name", "headers", "body"}``; the body is zlib, then base64, so that a bomb is as small as it is sent.
"""

import base64
import gzip
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("hostile.jsonl")
COUNT = 500
JSON = "application/json"
_NESTED = 70_000


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """One request."""

    name: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": JSON})


def event(**changed: Any) -> dict[str, Any]:
    """An event as it should be, but for what is ``changed``; ``data`` is merged."""
    data = {"RunId": "hostile", "Status": "Failed", **changed.pop("data", {})}
    return {"specversion": "1.0", "type": "tocsin.run.status", "source": "hostile", "id": "1", "data": data, **changed}


VALUES: tuple[tuple[str, Any], ...] = (
    ("null", None), ("true", True), ("zero", 0), ("minus one", -1), ("large", 10**30), ("tiny", 5e-324), ("empty", ""), ("blank", " \t\n"),
    ("list", []), ("object", {}), ("lists", [[[[["x"]]]]]), ("long", "x" * 70_000), ("nul", "a\x00b"), ("controls", "".join(map(chr, range(1, 32)))),
    ("emoji", "👩‍👩‍👧‍👦" * 50), ("right to left", "\u202egnp.exe\u2066"), ("zero width", "\u200b\ufeff\u2060"), ("beyond", "\U0010fffe\ufffe\uffff"),
)  # fmt: skip

TEXTS = (
    "'; DROP TABLE RunStatusChanged; --", "' OR 1=1 --", "x' UNION SELECT * FROM tocsin.meta --", '"; COPY (SELECT 1) TO \'/tmp/x\'; --',
    "$$ || read_text('/etc/passwd') || $$", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg/onload=alert(1)>", "&lt;b&gt;&#x3c;",
    "{{ 7 * 7 }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{% for a in range(999999999) %}{% endfor %}", "{{ '%999999999d' % 1 }}",
    "${7*7}", "${jndi:ldap://x/a}", "$(reboot)", "`reboot`", "| reboot", "%s%s%s%n%n", "%999999999d", "{0.__class__}", "../../../../etc/passwd",
    "..\\..\\windows\\win.ini", "/dev/stdin", "file:///etc/passwd", "javascript:alert(1)", "data:text/html,<script>alert(1)</script>",
    "http://user:pass@evil.example/", "http://[::1", "http://evil.example\\@good.example/", "https://xn--80ak6aa92e.com/", "//evil.example", "vbscript:x",
    "a\r\nBcc: all@evil.example\r\n\r\nbody", "a\nSubject: other", "victim%evil.example@example.org", "evil.example!victim@example.org", "-oQ/tmp -X/tmp/x@example.org",
    "a@b@c", "<a@b>, <c@d>", "\"a b\"@example.org", "a@" + "b." * 120 + "org", "@", "ops@example.org\x00", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07",
    "Ω≈ç√∫˜µ≤", "ﷺ" * 1000, "Z̸̡̧͚͎̞͈̖̪̼̠" * 100, "𝕿𝖍𝖊", "\u0000", "NULL", "undefined", "NaN", "true", "1e999", "0x7fffffff", "__proto__", "constructor",
    "=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "ya29." + "a" * 60, "AKIA" + "A" * 16, "-----BEGIN PRIVATE KEY-----", "password=hunter2", "eyJhbGciOiJub25lIn0.e30.",
)  # fmt: skip

TIMES: tuple[Any, ...] = (
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1677-09-21T00:12:43Z", "2262-04-11T23:47:17Z", "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T23:59:60Z", "2026-01-01T00:00:00+99:99", "2026-01-01", "20260101T000000Z", "2026-W01-1",
    "2026-001", "12:00", "now", "yesterday", "", "infinity", "-infinity", "epoch", "NaN", "1e400", 1e30, -1e30, 9e18, -9e18, 253402300800, -62135596801,
    0, -1, 1.5, 99999999999999999999, True, [], {}, "2026-01-01T00:00:00.123456789123456789Z", "２０２６-01-01T00:00:00Z", "2026-01-01T00:00:00Zzzz",
)  # fmt: skip

COLUMNS = (
    "RunId", "ParentRunId", "JobKey", "Attempt", "WillRetry", "Status", "Reason", "Message", "LogTail", "ExperimentName", "OwnerEmail", "Progress", "Tags",
    "Properties", "DurationMs", "Url",
)  # fmt: skip


def _texts() -> Iterator[tuple[str, bytes]]:
    good = json.dumps(event()).encode()
    yield from ((f"cut at {n}", good[:n]) for n in range(0, len(good), 12))
    yield from {
        "nothing": b"", "blank": b" \n", "nul": b"\0", "null": b"null", "number": b"7", "text": b'"x"', "true": b"true", "empty list": b"[]",
        "list of nulls": b"[null,null]", "list of lists": b"[[[]]]", "empty object": b"{}", "two": good + good, "two with a comma": good + b"," + good,
        "comma": good[:-1] + b",}", "comment": b"/* a */" + good, "single quotes": good.replace(b'"', b"'"), "no quotes": b"{specversion: 1.0}",
        "utf-8 mark": b"\xef\xbb\xbf" + good, "utf-16": good.decode().encode("utf-16"), "utf-32": good.decode().encode("utf-32"),
        "latin-1": '{"a": "é"}'.encode("latin-1"), "overlong": b'{"a": "\xc0\xaf"}', "surrogate": b'{"a": "\xed\xa0\x80"}',
        "half a pair": b'{"a": "\\ud800"}', "pair turned": b'{"a": "\\udc00\\ud800"}', "beyond unicode": b'{"a": "\xf4\x90\x80\x80"}',
        "raw newline": b'{"a": "\n"}', "bad escape": b'{"a": "\\x41"}', "nan": b'{"a": NaN}', "infinity": b'[Infinity, -Infinity]',
        "long number": b"[" + b"9" * 200_000 + b"]", "long fraction": b"[0." + b"9" * 200_000 + b"]", "exponent": b"[1e999999999]",
        "leading zero": b"[007]", "plus": b"[+1]", "hex": b"[0x10]", "deep lists": b"[" * _NESTED + b"]" * _NESTED, "open lists": b"[" * _NESTED,
        "deep objects": b'{"a":' * _NESTED + b"1" + b"}" * _NESTED, "many ones": b"[" + b"1," * 300_000 + b"1]", "many nulls": b"[" + b"null," * 200_000 + b"1]",
        "many keys": json.dumps({f"k{n}": n for n in range(8_000)}).encode(), "one long key": json.dumps({"k" * 50_000: 1}).encode(),
        "xml": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "yaml": b"a: &a [x]\nb: *a\n", "html": b"<html></html>",
        "form": b"a=1&b=2", "pickle": b"\x80\x04\x95.", "png": b"\x89PNG\r\n\x1a\n", "lines": good + b"\n" + good + b"\n", "half lines": good + b"\n{",
    }.items()  # fmt: skip
    for depth in (63, 64, 65, 66, 500):
        yield (
            f"data {depth} deep",
            json.dumps(event(data={"Tags": {"a": 1}}))
            .encode()
            .replace(b'{"a": 1}', b'{"a":' * depth + b"1" + b"}" * depth),
        )
    twice = json.dumps(event()).encode()
    yield "RunId twice", twice.replace(b'"Status"', b'"RunId": ["other"], "Status"')
    yield "data twice", twice[:-1] + b', "data": null}'


def _encoded() -> Iterator[Hostile]:
    good = json.dumps(event()).encode()

    def sent(name: str, body: bytes, encoding: str, kind: str = JSON) -> Hostile:
        return Hostile(name=name, body=body, headers={"Content-Type": kind, "Content-Encoding": encoding})

    packed = gzip.compress(good, mtime=0)
    yield sent("gzip of spaces", gzip.compress(b" " * (64 << 20), mtime=0), "gzip")
    yield sent("gzip of ones", gzip.compress(b"[" + b"1," * (4 << 20) + b"1]", mtime=0), "gzip")
    yield sent("gzip of lists", gzip.compress(b"[" * (16 << 20), mtime=0), "gzip")
    yield sent("gzip cut", packed[:-9], "gzip")
    yield sent("gzip with a tail", packed + b"tail", "gzip")
    yield sent("gzip twice", gzip.compress(packed, mtime=0), "gzip")
    yield sent("gzip in gzip", gzip.compress(packed, mtime=0), "gzip, gzip")
    yield sent("no gzip", good, "gzip")
    yield sent("deflate", zlib.compress(good), "deflate")
    for encoding in ("br", "zstd", "identity", "compress", "x-gzip", "gzip;q=0", "\x7f", "a" * 5_000):
        yield sent(f"encoding {encoding[:9]!r}", good, encoding)
    for kind in ("", "text/plain", "application/xml", "application/cloudevents+json", "application/cloudevents-batch+json", "multipart/form-data; boundary=x",
                 "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/json; charset=x", "a/b/c", ";;;", "x" * 5_000):  # fmt: skip
        yield Hostile(name=f"type {kind[:40]!r}", body=good, headers={"Content-Type": kind})
    binary = {
        "Content-Type": JSON,
        "ce-specversion": "1.0",
        "ce-type": "tocsin.run.status",
        "ce-source": "s",
        "ce-id": "1",
    }
    for name, value in (
        ("id", ""),
        ("id", "%00"),
        ("id", "%FF%FE"),
        ("id", "x" * 9_000),
        ("time", "never"),
        ("type", "%"),
        ("source", "\x7f"),
        ("specversion", "9"),
    ):
        yield Hostile(
            name=f"binary {name} {value[:9]!r}",
            body=b'{"RunId": "r", "Status": "Failed"}',
            headers={**binary, f"ce-{name}": value},
        )


def _whole() -> Iterator[Hostile]:
    for name, body in _texts():
        yield Hostile(name=name, body=body)
    yield from _encoded()
    for key in ("specversion", "id", "source", "type", "time", "data", "datacontenttype", "data_base64"):
        for name, value in VALUES[:14]:
            changed = event()
            changed[key] = value
            yield Hostile(name=f"{key} {name}", body=json.dumps(changed).encode())
    for n, text in enumerate(TEXTS):
        texts = dict.fromkeys(("RunId", "Message", "ExperimentName", "OwnerEmail", "Url", "TriggeringUserName"), text)
        yield Hostile(
            name=f"text {n}", body=json.dumps(event(id=f"text {n}", data={**texts, "Tags": {text: text}})).encode()
        )
    for n, time in enumerate(TIMES):
        data: dict[str, Any] = {"RunId": f"time {n}", "TimeGenerated": time, "StartTime": time, "EndTime": time}
        yield Hostile(name=f"time {time!r}"[:60], body=json.dumps(event(id=f"time {n}", data=data)).encode())
    for column in COLUMNS:
        for name, value in VALUES:
            yield Hostile(
                name=f"{column} {name}", body=json.dumps(event(id=f"{column} {name}", data={column: value})).encode()
            )


def made() -> list[Hostile]:
    """All of them, each name once: what is written out, then the valid event with some of its bytes changed."""
    found: dict[str, Hostile] = {}
    for each in _whole():
        found.setdefault(each.name, each)
    chosen = list(found.values())
    draw = random.Random(12)
    if len(chosen) > COUNT - 20:
        kept = sorted(draw.sample(range(len(chosen)), COUNT - 20))
        chosen = [chosen[n] for n in kept]
    good = json.dumps(event()).encode()
    while len(chosen) < COUNT:
        changed = bytearray(good)
        for _ in range(draw.randint(1, 6)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        chosen.append(Hostile(name=f"changed {len(chosen)}", body=bytes(changed)))
    return chosen


def line(each: Hostile) -> str:
    """Its line in the file."""
    body = base64.b64encode(zlib.compress(each.body, 9)).decode()
    return json.dumps({"name": each.name, "headers": each.headers, "body": body})


def read() -> list[Hostile]:
    """What the file holds."""
    found = []
    for text in FILE.read_text(encoding="utf-8").splitlines():
        entry = json.loads(text)
        body = zlib.decompress(base64.b64decode(entry["body"]))
        found.append(Hostile(name=entry["name"], headers=entry["headers"], body=body))
    return found


if __name__ == "__main__":
    FILE.write_text("".join(line(each) + "\n" for each in made()), encoding="utf-8")
    print(f"{len(made())} requests in {FILE}")
