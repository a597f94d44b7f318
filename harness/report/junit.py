"""JUnit XML, as CI services read it: test suites of cases that passed, failed or were skipped.

There is no standard; the elements and attributes are those that Jenkins, GitLab and the GitHub
actions for test reports have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree as ET

from harness.report.reading import clean

Outcome = Literal["passed", "failed", "error", "skipped"]
_ELEMENT = {"failed": "failure", "error": "error", "skipped": "skipped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One rule as a test case.

    Attributes:
        suite: what it belongs to, such as a model. name: the rule.
        message: one line. detail: several lines, such as both sides' figures.
    """

    suite: str
    name: str
    outcome: Outcome
    message: str = ""
    detail: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


def render(name: str, cases: Sequence[Case]) -> bytes:
    """An XML document in UTF-8 with one test suite for each `suite` of the cases, in order."""
    root = ET.Element("testsuites", _counts(name, cases))
    for suite in dict.fromkeys(case.suite for case in cases):
        own = [case for case in cases if case.suite == suite]
        element = ET.SubElement(root, "testsuite", _counts(suite, own))
        for case in own:
            _append(element, case)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _append(parent: ET.Element, case: Case) -> None:
    element = ET.SubElement(
        parent, "testcase", {"classname": clean(case.suite), "name": clean(case.name), "time": "0"}
    )
    if case.properties:
        properties = ET.SubElement(element, "properties")
        for key, value in case.properties.items():
            ET.SubElement(properties, "property", {"name": clean(key), "value": clean(value)})
    if tag := _ELEMENT.get(case.outcome):
        outcome = ET.SubElement(element, tag, {"message": clean(case.message)})
        # Characters that XML cannot hold are gone; line breaks are meant.
        outcome.text = "\n".join(clean(line) for line in case.detail.splitlines()) or None


def _counts(name: str, cases: Sequence[Case]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {
        "name": clean(name),
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failed")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
        "time": "0",
    }
