from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from harness.report import csv as csv_form
from harness.report import reading
from harness.report.formats import Material
from harness.report.measures import measures
from tests.report import sample
from tests.report.snapshots import golden


def rendered(card=None) -> bytes:
    return csv_form.render(reading.read(card or golden()))


def test_every_figure_is_a_row_with_its_unit() -> None:
    table = pd.read_csv(io.BytesIO(rendered()), dtype={"rank": "Int64"}, keep_default_na=False)
    card = golden()
    found = {(row.model, row.case, row.metric): row for row in table.itertuples(index=False)}
    assert len(found) == len(table)
    for entry in card["entries"]:
        for case, measured in {"": entry["metrics"], **entry["cases"]}.items():
            for metric, figures in measured.items():
                row = found[entry["model"], case, metric]
                assert float(row.value) == figures["value"]
                assert row.unit == figures["unit"]
                assert row.lo == ("" if figures["lo"] is None else str(figures["lo"]))
    assert len(table) == len(list(measures(reading.read(card))))


def test_it_opens_in_korean_excel_and_by_rfc_4180() -> None:
    data = rendered(sample.card([sample.entry("한글-1b.gguf", rank=1, speed=1, skill=1)]))
    assert data.startswith(b"\xef\xbb\xbf")
    assert data.count(b"\r\n") == data.count(b"\n")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    assert rows[0] == list(csv_form.HEAD)
    assert {len(row) for row in rows} == {len(csv_form.HEAD)}
    assert rows[1][5] == "한글-1b.gguf"


def test_what_is_made_up_never_has_the_tier_of_its_run() -> None:
    entries = [sample.entry(name, rank=1, speed=1, skill=1) for name in ("real", "made-up")]
    entries[1] |= {"list": "synthetic", "tier": "synthetic"}
    verified = {"tier": "verified", "trust": {"state": "verified", "signers": ["jury"]}}
    table = pd.read_csv(io.BytesIO(rendered(sample.card(entries) | verified)))
    tiers = dict(zip(table["model"], table["tier"], strict=True))
    assert tiers == {"real": "verified", "made-up": "synthetic"}


def test_negative_numbers_stay_numbers() -> None:
    card = sample.card([sample.entry("a", rank=1, speed=1, skill=1)])
    card["entries"][0]["metrics"]["bits_per_byte_change"] = sample.estimate(-0.25, 0.1, "bit/B")
    assert b",-0.25," in rendered(card)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("apache-2.0", "apache-2.0"),
        ("=1+1", "'=1+1"),
        ("-1", "'-1"),
        ("+1", "'+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1+1", "'＝1+1"),
        ('"=1+1', "'\"=1+1"),
        ("a; =1+1", "a;' =1+1"),
        ("a;b=c", "a;b=c"),
        ("ref-4m.q8_0.gguf", "ref-4m.q8_0.gguf"),
    ],
)
def test_what_could_be_a_formula_is_text(text: str, shown: str) -> None:
    assert csv_form.inert(text) == shown


def test_models_without_a_score_have_none(tmp_path) -> None:
    (data,) = csv_form.files(Material(card=golden(), folder=tmp_path, lang="ko")).values()
    table = pd.read_csv(io.BytesIO(data))
    for entry in golden()["entries"]:
        own = table[table["model"] == entry["model"]]
        assert own["rank"].isna().all() == (entry["rank"] is None)
        assert ("score" in set(own["metric"])) == (entry["score"] is not None)


@pytest.mark.parametrize("name", ["NA", "null", "nan", "None", "1e5", "007", "TRUE"])
def test_pandas_reads_odd_names_by_the_options_of_the_documentation(name: str) -> None:
    card = sample.card([sample.entry(name, rank=1, speed=1, skill=1)])
    numbers = {key: [""] for key in ("value", "lo", "hi", "n", "rank")}
    table = pd.read_csv(
        io.BytesIO(rendered(card)), keep_default_na=False, na_values=numbers, dtype={"model": str}
    )
    assert set(table["model"]) == {name}
    assert all(table[column].dtype.kind in "if" for column in numbers)
