from __future__ import annotations

from typing import Any

import pytest

from harness.report import figures, html, markdown, tables, words
from harness.report.figures import NONE, Numbers
from harness.report.reading import read
from tests.report import sample
from tests.report.snapshots import golden

MAKERS = (
    figures.speed,
    figures.latency,
    figures.gaps,
    figures.split,
    figures.outcomes,
    figures.load,
    figures.chat,
    figures.chat_cases,
    figures.sustained,
    figures.energy,
    figures.roofline,
    figures.peaks,
    figures.phases,
    figures.language,
    figures.fidelity,
    figures.flips,
    figures.kernel,
    figures.mlperf_client,
    figures.aiperf,
)
BARE = ("cases", "metrics", "tasks")


def bare() -> dict[str, Any]:
    """A scorecard of the first schema's first version, with a model that measured nothing."""
    made = sample.entry("a", rank=None, speed=1, skill=1)
    made |= {name: {} for name in BARE} | {"jobs": []}
    for name in ("compat", "memory", "gaps", "sustained", "energy", "findings", "fidelity"):
        del made[name]
    card = sample.card([made])
    del card["calibration"]
    return card


def lines(numbers: Numbers) -> dict[tuple[str, str], figures.Line]:
    return {
        (group.title.text, line.name.text): line for group in numbers.groups for line in group.lines
    }


@pytest.mark.parametrize("make", MAKERS)
def test_every_line_fills_its_table(make) -> None:
    for card in (sample.laptop(), sample.hostile(), golden()):
        numbers = make(read(card))
        assert numbers.groups
        for line in lines(numbers).values():
            assert line.missing is not None or len(line.figures) == len(numbers.heads)


@pytest.mark.parametrize("make", MAKERS)
def test_what_nobody_measured_makes_no_table(make) -> None:
    numbers = make(read(bare()))
    assert numbers.groups == ()


@pytest.mark.parametrize("make", MAKERS)
def test_every_heading_has_its_words(make) -> None:
    numbers = make(read(sample.laptop()))
    for key in (numbers.title, f"{numbers.title}.caption", numbers.first):
        assert words.strings()[key]["ko"]
    for head in numbers.heads:
        if head.group:
            assert f"{head.group}.{head.text}" in words.strings()


def test_cases_stand_in_the_order_of_their_numbers_and_depths_last() -> None:
    names = ["fixed-p1024-n128", "fixed-p64-n128@d512", "fixed-p256-n128", "fixed-p64-n128"]
    assert sorted(names, key=figures.natural) == [names[3], names[2], names[0], names[1]]
    assert sorted(["load-cold", "load"], key=figures.natural) == ["load", "load-cold"]
    assert sorted(["chat-en", "chat-ko"], key=figures.natural) == ["chat-ko", "chat-en"]
    contexts = ["c8192", "c2048-mmap", "c512", "c2048"]
    assert sorted(contexts, key=figures.natural) == ["c512", "c2048", "c2048-mmap", "c8192"]


def test_a_model_that_lacks_what_others_have_says_why() -> None:
    view = read(sample.laptop())
    last = view.rows[-1].model
    energy = lines(figures.energy(view))
    assert energy["", last].missing == (
        "energy_too_coarse",
        "3 energy readings inside the request; 5 are needed",
    )
    assert lines(figures.roofline(view))["", last].missing == ("", "")
    assert words.absent("", "", "en") == "not measured"
    assert words.absent("timeout", "after 60 s", "en") == "not measured: timeout: after 60 s"
    text = markdown.render(sample.laptop(), lang="ko")
    assert "측정되지 않음: 전력 기록이 너무 성김: " in text


def test_a_failed_job_and_a_refused_sample_are_reasons_too() -> None:
    entries = [sample.entry(name, rank=None, speed=1, skill=1) for name in ("a", "b", "c")]
    job = {"suite": "energy", "process": 0, "outcome": "timeout", "reason": "", "detail": "60 s"}
    entries[1]["jobs"] = [job]
    refused = {"code": "no_energy", "severity": "warn", "detail": "energy-p256-n128: no trace"}
    entries[2]["findings"] = [refused]
    for made in entries[1:]:
        sample.without_energy(made)
    energy = lines(figures.energy(read(sample.card(entries))))
    assert energy["", "a"].missing is None
    assert energy["", "b"].missing == ("timeout", "60 s")
    assert energy["", "c"].missing == ("no_energy", "energy-p256-n128: no trace")


def test_absent_values_are_dashes_and_never_zero() -> None:
    view = read(sample.laptop())
    first = view.rows[0].model
    aiperf = lines(figures.aiperf(view))
    assert aiperf[first, "request_latency_s"].figures[2:] == (NONE, NONE)
    entries = [sample.entry("a", rank=None, speed=1, skill=1)]
    entries[0]["memory"]["kv_bytes_per_tok"] = {"fitted": None, "computed": 28_672}
    entries[0]["memory"]["phases"]["c512"].pop("import")
    view = read(sample.card(entries))
    assert [figure.text for figure in lines(figures.peaks(view))["", "a"].figures[-2:]] == [
        "–",
        "28.0 KiB",
    ]
    assert lines(figures.phases(view))["a", "c512"].figures[1] == NONE


def test_other_tools_figures_are_printed_their_way() -> None:
    view = read(sample.laptop())
    kernel = lines(figures.kernel(view))
    line = kernel["ref-1.5b.q4_k_m.gguf", "tg128 @ d1024"]
    assert [figure.text for figure in line.figures] == ["20.1 tok/s", "20.07 ± 0.00", "15"]
    client = lines(figures.mlperf_client(view))["", "ref-1.5b.q4_k_m.gguf"]
    assert [figure.text for figure in client.figures] == ["850 ms", "21.2 tok/s", "150"]


def test_calibration_is_one_sentence() -> None:
    said = words.calibration(read(sample.laptop()), "en")
    assert "memory read 41.2 → 40.9 GB/s" in said
    assert "FP32 arithmetic 812 → 812 GFLOP/s" in said
    assert said.endswith("(method numpy, threads 8)")
    assert "not measured" in words.calibration(read(bare()), "en")


def test_findings_of_models_stand_beside_those_of_the_run() -> None:
    findings = tables.validity(read(sample.laptop()))[0]
    scopes = [cells[1].text for cells in findings.rows]
    assert scopes == ["run", "narae-1b.q8_0.gguf", "narae-1b.q8_0.gguf"]
    assert findings.rows[1][2] == ("slowed_down", "finding")


def test_the_parts_of_a_peak_stand_beside_their_sum() -> None:
    (line,) = lines(figures.split(read(sample.card([entry_of("a")])))).values()
    *parts, peak, context = [figure.amount for figure in line.figures]
    assert sum(part for part in parts if part is not None) == pytest.approx(peak)
    assert context == 2048


def test_jobs_that_ended_well_are_counted_by_suite() -> None:
    numbers = figures.outcomes(read(sample.laptop()))
    found = lines(numbers)
    assert [head.text for head in numbers.heads] == ["latency", "memory"]
    texts = {model: [figure.text for figure in line.figures] for (_, model), line in found.items()}
    assert texts["sol-360m.q8_0.gguf"] == ["1/1", "0/1"]
    assert texts["narae-1b.q8_0.gguf"] == ["1/1", "1/1"]


def test_figures_carry_what_a_table_sorts_by() -> None:
    (line,) = lines(figures.speed(read(sample.card([entry_of("a")])))).values()
    first = line.figures[0]
    assert (first.text, first.amount) == ("840 ms", 0.84)


def test_every_attempt_is_listed_with_this_one_last() -> None:
    view = read(sample.laptop())
    rows = [[cell.text for cell in row] for row in tables.attempts(view).rows]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[1] for row in rows] == [
        "20261122T070000Z-0a1b2c",
        "20261122T091000Z-3d4e5f",
        view.run,
    ]
    assert rows[0][2:] == ["2026-11-22 07:00 UTC (11-22 16:00 KST)", "unannounced", "gone"]
    assert [row[3:] for row in rows[1:]] == [["announced", ""], ["announced", "this"]]


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", "run 2 of 3 announced; 1 before it without records"),
        ("ko", "사전 공지한 3회 중 2번째 실행; 이전 실행 중 1회는 기록 없음"),
    ],
)
def test_a_report_says_which_run_it_is(lang: words.Lang, said: str) -> None:
    assert words.attempt(read(sample.laptop()), lang) == said


def test_a_run_that_was_not_announced_says_so() -> None:
    view = read(sample.card([], attempt={"number": 3, "of": 3, "announced": False}))
    assert words.attempt(view, "en") == "run 3 of 3, not announced"
    assert words.attempt(view, "ko") == "3회 중 3번째 실행(사전 공지 없음)"
    later = {"number": 3, "of": 3, "announced": False, "later": 4}
    assert words.attempt(read(sample.card([], attempt=later)), "en") == "run 3 of 7, not announced"
    older = read(sample.card([], attempt={"number": 3, "of": 3}))
    assert words.attempt(older, "ko") == "3회 중 3번째 실행"


def test_a_run_that_was_interrupted_says_so() -> None:
    sessions = {"resumed": ["2026-11-27T08:00:00+00:00"] * 2, "again": [{"model": "a"}]}
    view = read(sample.card([], attempt={"number": 1, "of": 1}) | {"sessions": sessions})
    assert words.attempt(view, "en") == "run 1 of 1; resumed 2×, jobs begun again: 1"
    assert words.attempt(view, "ko") == "1회 중 1번째 실행; 중단 후 재개 2회, 다시 시작한 작업 1개"


def test_a_run_that_has_not_ended_says_how_to_go_on() -> None:
    cut = {"code": "run_incomplete", "severity": "warn", "detail": "2 of 6 jobs are on record"}
    attempt = {"number": 1, "of": 1, "announced": False}
    card = sample.card([], attempt=attempt)
    card["verdict"]["findings"].append(cut)
    said = words.unfinished(read(card), "en")
    assert said.startswith("run incomplete: 2 of 6 jobs are on record.")
    assert said.endswith(f"harness run --resume {card['run']}")
    assert "작업 6개 가운데 2개" in words.unfinished(read(card), "ko")
    for show in (html.render, markdown.render):
        assert f"harness run --resume {card['run']}" in show(card)
    handed_in = card | {"trust": {"state": "unverified", "reason": "not_signed", "signers": []}}
    assert "--resume" not in words.unfinished(read(handed_in), "en"), "not by whoever reads it"
    assert words.unfinished(read(sample.card([], attempt=attempt)), "en") == ""


def test_attempts_of_an_older_scorecard_are_this_one_alone() -> None:
    view = read(sample.card([], attempt={"number": 4, "of": 4}))
    ((number, run, _, kind, note),) = tables.attempts(view).rows
    assert (number.text, run.text, kind.text) == ("4", view.run, "")
    assert words.word("ko", note.group, note.text) == "이 보고서"


def test_gates_are_columns_with_their_limits() -> None:
    view = read(sample.laptop())
    assert tables.gates(view) == (
        tables.Gate("memory", "≤ 4.00 GiB", required=True),
        tables.Gate("fidelity-kld", "≤ 0.0200 nat", required=False),
    )
    worst = next(row for row in view.rows if row.rank is None)
    gate = worst.gate("memory")
    assert gate is not None
    assert gate.passed is False
    assert worst.gate("unheard-of") is None


def entry_of(name: str) -> dict[str, Any]:
    return sample.entry(name, rank=1, speed=1, skill=1)
