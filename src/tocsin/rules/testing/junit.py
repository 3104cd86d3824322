"""Inline tests as JUnit XML: a suite a rule, a case a test, the story as the failure's text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tocsin.rules.testing.run import TestResult


def junit(results: Sequence[TestResult]) -> str:
    """The file's text, as GitLab, Jenkins and GitHub's reporters read it (jenkins-junit.xsd)."""
    root = Element("testsuites", {"name": "tocsin rules", **_counts(results)})
    for rule, group in groupby(results, key=lambda r: r.rule):
        tests = list(group)
        suite = SubElement(root, "testsuite", {"name": _xml(rule), "file": _xml(tests[0].file), **_counts(tests)})
        for test in tests:
            case = SubElement(
                suite, "testcase", name=_xml(test.name), classname=_xml(rule), file=_xml(test.file),
                line=str(test.line), time=f"{test.seconds:.3f}",
            )  # fmt: skip
            if not test.passed:
                message = "; ".join(fault.strip() for fault in test.faults)
                failure = SubElement(case, "failure", type="expectation", message=_xml(message))
                failure.text = _xml(str(test))
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _counts(results: Sequence[TestResult]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(not r.passed for r in results)),
        "errors": "0",
        "time": f"{sum(r.seconds for r in results):.3f}",
    }


def _xml(text: str) -> str:
    """``text`` without characters that XML 1.0 cannot hold."""
    return "".join(
        c if c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE or ord(c) > 0xFFFF else "�"
        for c in text
    )
