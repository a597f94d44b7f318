import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.report.formats import Material
from harness.report.junit import Case, files, render
from tests.report import sample
from tests.report.snapshots import golden

CASES = [
    Case(suite="a", name="memory", outcome="passed", properties={"limit": "8 GiB"}),
    Case(suite="a", name="decode", outcome="failed", message="7 < 8", detail="one\ntwo"),
    Case(suite="b", name="ttft", outcome="skipped", message="too few items"),
    Case(suite="b", name="load", outcome="error", message="crashed"),
]


def test_counts_and_cases() -> None:
    root = ET.fromstring(render("run", CASES))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "1")
    assert [(s.get("name"), s.get("tests"), s.get("skipped")) for s in root] == [
        ("a", "2", "0"),
        ("b", "2", "1"),
    ]
    failure = root.find("./testsuite/testcase[@name='decode']/failure")
    assert (failure.get("message"), failure.text) == ("7 < 8", "one\ntwo")
    assert root.find(".//property").attrib == {"name": "limit", "value": "8 GiB"}


def test_what_xml_cannot_hold_is_shown_not_obeyed() -> None:
    evil = "a\x00\x1b[31m]]><script>\ufffe\u202e"
    data = render(evil, [Case(suite=evil, name=evil, outcome="failed", message=evil, detail=evil)])
    case = ET.fromstring(data).find(".//testcase")
    assert case.get("name").startswith("a\\x00\\x1b[31m]]><script>")
    assert b"<script>" not in data


def test_no_case() -> None:
    assert ET.fromstring(render("run", [])).get("tests") == "0"


def of_run(card, lang="en") -> ET.Element:
    (data,) = files(Material(card=card, folder=Path(), lang=lang)).values()
    return ET.fromstring(data)


def case(root: ET.Element, suite: str, name: str) -> ET.Element:
    return root.find(f"./testsuite[@name='{suite}']/testcase[@name='{name}']")


def test_a_run_tells_its_gates_jobs_and_scores() -> None:
    root = of_run(golden())
    assert root[0].get("name") == "run"
    assert case(root, "run", "validity").find("failure") is None
    reference = "ref-4m.f16.gguf"
    passed = case(root, reference, "gate memory")
    assert not len(passed.findall("failure") + passed.findall("skipped"))
    found = {p.get("name"): p.get("value") for p in passed.iter("property")}
    assert found == {"metric": "peak_resident_bytes", "value": "88080400.0", "limit": "8589934592"}
    score = {p.get("name"): p.get("value") for p in case(root, reference, "score").iter("property")}
    assert score == {"score": "1000", "rank": "5"}


def test_what_failed_is_an_error_and_what_is_missed_a_failure() -> None:
    root = of_run(golden())
    memory = case(root, "startup-c.q8_0.gguf", "jobs memory").find("error")
    assert memory.get("message") == "out of memory"
    assert memory.text.startswith("process 0: out of memory")
    gate = case(root, "startup-c.q8_0.gguf", "gate memory").find("failure")
    assert gate.get("message") == "Peak memory: – / 8.00 GiB (not measured)"
    guesser = case(root, "ref-1m.q4_0.gguf", "score").find("failure")
    assert "chance" in guesser.get("message")
    left_out = case(root, "startup-d.q4_k_m.gguf", "measured").find("skipped")
    assert left_out.text == "harness models pull startup-d.q4_k_m.gguf"
    assert root.get("errors") == "1"
    gates = [
        gate
        for entry in golden()["entries"]
        for gate in entry["gates"] + (entry["fidelity"] or {"gates": []})["gates"]
    ]
    assert root.get("failures") == str(
        sum(gate["passed"] is False for gate in gates) + 2  # scores: at chance, out of memory
    )


def test_a_gate_that_cannot_be_decided_is_skipped() -> None:
    card = golden()
    gate = card["entries"][0]["gates"][0]
    gate.update(passed=None, reason="too_few_items")
    found = case(of_run(card), card["entries"][0]["model"], f"gate {gate['id']}")
    assert "items" in found.find("skipped").get("message")


@pytest.mark.parametrize(
    ("reason", "tag"),
    [("no_weights", "skipped"), ("gate_failed", "skipped"), ("bad_times", "failure")],
)
def test_no_score_is_a_failure_unless_another_case_tells(reason: str, tag: str) -> None:
    card = golden()
    card["entries"][0].update(rank=None, score=None, interval=None, reason=reason, detail="")
    score = case(of_run(card), card["entries"][0]["model"], "score")
    assert [child.tag for child in score] == [tag]


def test_an_invalid_run_fails_with_its_findings() -> None:
    card = golden()
    finding = {"code": "on_battery", "severity": "invalid", "detail": "before"}
    card["verdict"] = {"state": "invalid", "findings": [finding]}
    failure = case(of_run(card), "run", "validity").find("failure")
    assert (failure.get("message"), failure.text) == ("invalid", "invalid on_battery: before")


def test_one_lost_process_is_an_error_and_all_skipped_are_skipped() -> None:
    card = golden()
    entry = card["entries"][0]
    for job in entry["jobs"]:
        if job["suite"] == "energy":
            job.update(outcome="skipped", reason="no_counter", detail="no sensor")
    latency = [job for job in entry["jobs"] if job["suite"] == "latency"]
    latency[1].update(outcome="crashed", reason="crashed", detail="SIGSEGV")
    root = of_run(card)
    assert case(root, entry["model"], "jobs energy").find("skipped") is not None
    error = case(root, entry["model"], "jobs latency").find("error")
    assert error.text == f"process {latency[1]['process']}: crashed: SIGSEGV"


def test_names_do_not_change_with_the_language() -> None:
    names = [
        [test.attrib for test in of_run(golden(), lang).iter("testcase")] for lang in ("ko", "en")
    ]
    assert names[0] == names[1]
    gate = case(of_run(golden(), "ko"), "startup-c.q8_0.gguf", "gate memory").find("failure")
    assert "측정" in gate.get("message")


@pytest.mark.parametrize("evil", sample.PAYLOADS)
def test_hostile_strings_stay_text(evil: str) -> None:
    card = json.loads(json.dumps(golden()))
    entry = card["entries"][0]
    entry.update(model=evil, licence=evil, reason=evil, detail=evil)
    entry["gates"][0].update(passed=False, reason=evil)
    entry["jobs"][0].update(outcome="failed", reason=evil, detail=evil)
    root = of_run(card)
    assert {element.tag for element in root.iter()} == {
        "testsuites",
        "testsuite",
        "testcase",
        "properties",
        "property",
        "failure",
        "error",
        "skipped",
    }
