"""JUnit XML, as CI services read it: test suites of cases that passed, failed or were skipped.

Of a run: one test suite a model, with a case for each gate, for each suite's jobs, and for the
score. A gate that cannot be decided is skipped, never passed. Names stay the same in every
language, because services follow a test by its name.

There is no standard; the elements and attributes are those that Jenkins, GitLab and the GitHub
actions for test reports have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree as ET

from harness.report import reading, words
from harness.report.formats import Material
from harness.report.reading import clean
from harness.report.view import Check, JobOutcome, Row, View
from harness.report.words import Lang

Outcome = Literal["passed", "failed", "error", "skipped"]
_TOLD_ELSEWHERE = {"no_weights", "gate_failed", "run_invalid"}
"""Reasons for no score that are nobody's fault, or already a failure of another case."""
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


def files(material: Material) -> dict[str, bytes]:
    """`junit.xml` of a run."""
    view = reading.read(material.card)
    return {"junit.xml": render(f"harness {view.run}", list(_of_run(view, material.lang)))}


def _of_run(view: View, lang: Lang) -> Iterator[Case]:
    findings = "\n".join(
        f"{finding.severity} {finding.code}: {finding.detail}" for finding in view.findings
    )
    yield Case(
        suite="run",
        name="validity",
        outcome="failed" if view.verdict == "invalid" else "passed",
        message=words.word(lang, "verdict", view.verdict),
        detail=findings,
        properties={"verdict": view.verdict, "tier": view.tier},
    )
    for row in view.rows:
        yield from _of_model(row, lang)
    for skip in view.skipped:
        yield Case(
            suite=skip.model,
            name="measured",
            outcome="skipped",
            message=words.cause(skip.reason, skip.detail, lang),
            detail=skip.hint,
        )


def _of_model(row: Row, lang: Lang) -> Iterator[Case]:
    for suite in dict.fromkeys(job.suite for job in row.jobs):
        yield _of_jobs(row, suite, [job for job in row.jobs if job.suite == suite], lang)
    for gate in row.gates:
        yield _of_gate(row, gate, lang)
    ranked = row.rank is not None
    lost: Outcome = "skipped" if row.reason in _TOLD_ELSEWHERE else "failed"
    yield Case(
        suite=row.model,
        name="score",
        outcome="passed" if ranked else lost,
        message="" if ranked else words.why_unranked(row, lang),
        properties={"score": words.number(row.score.value), "rank": row.place} if ranked else {},
    )


def _of_jobs(row: Row, suite: str, jobs: Sequence[JobOutcome], lang: Lang) -> Case:
    """All processes of one suite: what one of them lost, the others cannot make good."""
    lost = [job for job in jobs if job.outcome not in {"ok", "skipped"}]
    left_out = [job for job in jobs if job.outcome == "skipped"]
    told = lost or (left_out if len(left_out) == len(jobs) else [])
    causes = [
        f"{words.word(lang, 'outcome', job.outcome)}: {words.cause(job.cause, job.detail, lang)}"
        for job in told
    ]
    return Case(
        suite=row.model,
        name=f"jobs {suite}",
        outcome="error" if lost else "skipped" if told else "passed",
        message=causes[0].rstrip(": ") if causes else "",
        detail="\n".join(
            f"process {job.process}: {cause}" for job, cause in zip(told, causes, strict=True)
        ),
        properties={"processes": str(len(jobs))},
    )


def _of_gate(row: Row, gate: Check, lang: Lang) -> Case:
    outcome: Outcome = "skipped" if gate.passed is None else "passed" if gate.passed else "failed"
    value, limit = (words.value(gate.metric, amount) for amount in (gate.value, gate.limit))
    why = words.word(lang, "reason", gate.reason)
    shown = f"{words.word(lang, 'metric', gate.metric)}: {value} / {limit}"
    return Case(
        suite=row.model,
        name=f"gate {gate.id}",
        outcome=outcome,
        message=f"{shown} ({why})" if why else shown,
        properties={
            "metric": gate.metric,
            "value": "" if gate.value is None else str(gate.value),
            "limit": "" if gate.limit is None else str(gate.limit),
        },
    )


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
