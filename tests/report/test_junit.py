from xml.etree import ElementTree as ET

from harness.report.junit import Case, render

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
