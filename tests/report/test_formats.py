import contextlib
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.records import JournalWriter
from harness.report import formats, html, markdown
from tests.golden_run import golden_records
from tests.report import sample


def material(folder: Path, card=None) -> formats.Material:
    return formats.Material(
        card=sample.laptop() if card is None else card, folder=folder, lang="en"
    )


def keep_records(folder: Path) -> None:
    """The golden run's records, for the forms that need raw samples."""
    with contextlib.closing(JournalWriter(folder / "records.jsonl")) as journal:
        journal.append(*golden_records())


def test_the_usual_forms_are_written_whole(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of an earlier run")
    written = formats.write(material(tmp_path))
    assert written == [tmp_path / "scorecard.md", tmp_path / "report.html"]
    assert written[0].read_text("utf-8") == markdown.render(sample.laptop())
    assert written[1].read_text("utf-8") == html.render(sample.laptop(), lang="en")
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_a_form_asked_for_twice_is_written_once(tmp_path: Path) -> None:
    written = formats.write(material(tmp_path), ["markdown", "markdown"])
    assert written == [tmp_path / "scorecard.md"]


def test_an_unknown_form_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        formats.write(material(tmp_path), ["html", "markdwn"])
    assert "unknown format 'markdwn'; did you mean 'markdown'?" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["parquet", "pytest-benchmark"])
def test_records_without_a_run_are_refused(name: str, tmp_path: Path) -> None:
    with contextlib.closing(JournalWriter(tmp_path / "records.jsonl")) as journal:
        journal.append(*(record for record in golden_records() if record["type"] != "run"))
    with pytest.raises(HarnessError) as caught:
        formats.write(material(tmp_path), [name])
    assert caught.value.reason == "no_run_record"


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError) as caught:
        formats.write(material(tmp_path / "file"))
    assert caught.value.where == str(tmp_path / "file" / "scorecard.md")
    assert caught.value.reason == "unwritable"


def test_a_failed_replace_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "scorecard.md").mkdir()
    with pytest.raises(HarnessError, match="cannot write"):
        formats.write(material(tmp_path))
    assert list(tmp_path.iterdir()) == [tmp_path / "scorecard.md"]


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_every_form_renders_a_run(name: str, tmp_path: Path) -> None:
    written = formats.write(material(sample.folder(tmp_path)), [name])
    assert written
    assert all(path.stat().st_size for path in written)
    assert tmp_path / "records.jsonl" not in written
