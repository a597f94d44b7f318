"""No hostile string is active in any form: each is parsed as its readers would."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pyarrow import parquet

from harness.report import csv as csv_form
from harness.report import formats, junit, markdown
from harness.report.reading import LONGEST, clean
from tests.report import hostile, sample
from tests.report.snapshots import printed

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
BLANK = "\u115f\u1160\u3164\uffa0\u2800\ufdd0\ufffe\uffff\U0001fffe"
LINKING = {"href", "src", "action", "formaction", "data", "srcdoc", "xlink:href", "style", "poster"}
COUNTED = (
    *("script", "style", "link", "meta", "base", "svg", "table", "tr", "td", "a", "button"),
    *("h1", "h2", "h3", "p", "li", "hr", "ol"),
)
FORMULA = tuple("=+-@\t\r＝＋－＠")
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
# Other programs may not refuse a bad address: no link at all is to be seen.
READER.validateLink = lambda _url: True  # type: ignore[method-assign]
BREAK = "\u200b"
"""Written as an entity into Markdown, so that GitHub sees no mention."""


def visible(text: str) -> bool:
    """No character that is obeyed or not seen; line ends are of the form itself."""
    return not any(
        char not in "\n\r\t" and (unicodedata.category(char) in HIDDEN or char in BLANK)
        for char in text
    )


def shown(payload: str) -> str:
    """As a reader sees it: runs of spaces are one, and none is at an end."""
    return " ".join(clean(payload).split())


class Page(HTMLParser):
    """Elements with the names of their attributes, links, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[tuple[str, str]] = set()
        self.links: set[str] = set()
        self.counts: dict[str, int] = {}
        self.parts: list[str] = []
        self.code: list[str] = []
        self.others: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self._inside = tag
        self.elements |= {(tag, name) for name, _ in attrs} | {(tag, "")}
        self.links |= {value or "" for name, value in attrs if name in LINKING - {"style"}}

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.code if self._inside in {"script", "style"} else self.parts).append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.parts).split())


def same_structure(found: Page, wanted: Page) -> None:
    # Long names may be broken in more places, and codes without a translation stand once.
    passing = {("wbr", ""), ("bdi", "")}
    assert found.elements - passing == wanted.elements - passing
    assert found.links == wanted.links
    assert found.code == wanted.code
    assert found.others == wanted.others == []
    for tag in COUNTED:
        assert found.counts.get(tag) == wanted.counts.get(tag), tag


def check_html(data: bytes, harmless: bytes) -> None:
    found, wanted = Page(data.decode()), Page(harmless.decode())
    same_structure(found, wanted)
    assert all(link.startswith("#") or link == "data:," for link in found.links)
    assert not any(name.startswith("on") for _, name in found.elements)
    assert "default-src 'none'" in unescape(data.decode())


def show_html(data: bytes) -> Iterator[bool]:
    text = Page(data.decode()).text
    return (shown(payload) in text for payload in hostile.PAYLOADS)


def check_markdown(data: bytes, harmless: bytes) -> None:
    for token in walk(READER.parse(data.decode())):
        assert token.type not in {"link_open", "image", "fence", "code_block", "s_open"}
        if token.type in {"html_inline", "html_block"}:
            assert re.fullmatch(
                r"(<details>)?(<summary>[^<&]*</summary>)?(</details>)?\s*", token.content
            )
    found, wanted = (Page(READER.render(text.decode())) for text in (data, harmless))
    same_structure(found, wanted)
    # GitHub makes links of these in the text itself, after entities.
    assert not re.search(r"(?<!\w)@\w|@[\w-]+\.\w|#\d|\bGH-\d", found.text)
    assert not re.search(r"://|www\.", data.decode())


def show_markdown(data: bytes) -> Iterator[bool]:
    text = Page(READER.render(data.decode())).text.replace(BREAK, "")
    return (shown(payload) in text for payload in hostile.PAYLOADS)


def walk(tokens: Any) -> Iterator[Any]:
    for token in tokens:
        yield token
        yield from walk(token.children or ())


def check_csv(data: bytes, harmless: bytes) -> None:
    text = data.decode("utf-8-sig")
    head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    numbers = {head.index(name) for name in ("rank", "value", "lo", "hi", "n")}
    assert len(rows) == len(list(csv.reader(io.StringIO(harmless.decode("utf-8-sig"))))) - 1
    for row in rows:
        assert len(row) == len(head)
        for column, cell in enumerate(row):
            if column in numbers:
                assert not cell or float(cell) is not None
            else:
                assert not cell.lstrip(" \"'").startswith(FORMULA) or cell.startswith("'")
    # A spreadsheet that separates otherwise sees other cells, and none of them calculates.
    for separator in ";\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            for cell in row:
                assert not cell.lstrip(' "').startswith(FORMULA), cell


def show_csv(data: bytes) -> Iterator[bool]:
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    cells = {cell for row in rows for cell in row}
    return (csv_form.inert(clean(payload)) in cells for payload in hostile.PAYLOADS)


def check_parquet(data: bytes, harmless: bytes) -> None:
    table = parquet.read_table(io.BytesIO(data))
    plain = parquet.read_table(io.BytesIO(harmless))
    assert table.num_rows == plain.num_rows > len(hostile.PAYLOADS)
    assert all(map(visible, texts_of(table)))


def show_parquet(data: bytes) -> Iterator[bool]:
    texts = texts_of(parquet.read_table(io.BytesIO(data)))
    # Records are JSON, which has no lone surrogates.
    wanted = (payload.encode("utf-8", "replace").decode() for payload in hostile.PAYLOADS)
    return (clean(payload) in texts for payload in wanted)


def texts_of(table: Any) -> set[str]:
    columns = (column.to_pylist() for column in table.columns)
    return {value for column in columns for value in column if isinstance(value, str)}


def check_json(data: bytes, harmless: bytes) -> None:
    def strings(value: Any) -> Iterator[str]:
        match value:
            case str():
                yield value
            case Mapping():
                for key, item in value.items():
                    yield from (key, *strings(item))
            case list():
                for item in value:
                    yield from strings(item)

    for line in data.decode().splitlines() if data.count(b"\n{") else [data.decode()]:
        assert all(visible(text) for text in strings(json.loads(line)))


def check_xml(data: bytes, harmless: bytes) -> None:
    assert b"<!" not in data
    assert data.count(b"<?") == 1
    found, wanted = ET.fromstring(data), ET.fromstring(harmless)
    # Suites are in order of their models' names: their order may differ, nothing in them.
    suites = [
        sorted([(e.tag, sorted(e.attrib)) for e in suite.iter()] for suite in root)
        for root in (found, wanted)
    ]
    assert suites[0] == suites[1]
    for element in found.iter():
        assert all(visible(text) for text in (*element.attrib.values(), element.text or ""))


CHECKS: Mapping[str, Callable[[bytes, bytes], None]] = {
    ".html": check_html,
    ".md": check_markdown,
    ".csv": check_csv,
    ".parquet": check_parquet,
    ".json": check_json,
    ".jsonl": check_json,
    ".xml": check_xml,
}
"""By a file's suffix: its contents and those of the same form of a harmless run."""
SHOWS: Mapping[str, Callable[[bytes], Iterator[bool]]] = {
    ".html": show_html,
    ".md": show_markdown,
    ".csv": show_csv,
    ".parquet": show_parquet,
}
"""Whether each payload can be read in it."""


def files(form: str, payloads: tuple[str, ...], folder: Path) -> dict[str, bytes]:
    records = sample.folder(folder, hostile.records(payloads))
    material = formats.Material(card=hostile.card(payloads), folder=records, lang="en")
    return {path.name: path.read_bytes() for path in formats.write(material, [form])}


@pytest.mark.parametrize("form", sorted(formats.FORMATS))
def test_none_is_active_in_any_form(form: str, tmp_path_factory) -> None:
    found = files(form, hostile.PAYLOADS, tmp_path_factory.mktemp("hostile"))
    wanted = files(form, hostile.HARMLESS, tmp_path_factory.mktemp("harmless"))
    # No string of others names a file.
    assert found.keys() == wanted.keys()
    for name, data in found.items():
        suffix = Path(name).suffix
        if suffix != ".parquet":
            assert visible(data.decode("utf-8-sig"))
        CHECKS[suffix](data, wanted[name])
    for name, data in found.items():
        if name != "items.parquet" and (show := SHOWS.get(Path(name).suffix)):
            assert all(show(data))


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("html", "<script>alert(1)</script>"),
        ("html", "<img src=x onerror=alert(1)>"),
        ("html", '<a href="javascript:alert(1)">x</a>'),
        ("html", '<meta http-equiv="refresh" content="0">'),
        ("markdown", "[x](javascript:alert(1))"),
        ("markdown", "![x](x.png)"),
        ("markdown", "<b>x</b>"),
        ("markdown", "@everyone"),
        ("markdown", "a | b"),
        ("markdown", "www.evil.example"),
        ("csv", "=1+1"),
        ("csv", "x;=1+1"),
        ("csv", 'x","y'),
    ],
)
def test_the_checks_bite(form: str, text: str, tmp_path: Path) -> None:
    """One of the harmless words as it must never be written."""
    for name, data in files(form, hostile.HARMLESS[:9], tmp_path).items():
        check = CHECKS[Path(name).suffix]
        check(data, data)
        assert b"word7" in data
        with pytest.raises(AssertionError):
            check(data.replace(b"word7", text.encode()), data)


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_a_terminal_obeys_none(lang) -> None:
    text = printed(hostile.card(), lang=lang, terminal=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert visible(plain)
    colours = set(re.findall(r"\x1b\[[0-9;]*m", text))
    assert colours <= set(
        re.findall(r"\x1b\[[0-9;]*m", printed(hostile.card(hostile.HARMLESS), terminal=True))
    )
    without_breaks = "".join(plain.split())
    for payload in hostile.PAYLOADS:
        assert "".join(clean(payload).split()) in without_breaks


def test_junit_holds_them_as_text() -> None:
    def rendered(payloads: tuple[str, ...]) -> bytes:
        outcomes = ("passed", "failed", "error", "skipped")
        return junit.render(
            payloads[0],
            [
                junit.Case(suite=p, name=p, outcome=outcome, message=p, detail=p, properties={p: p})
                for p in payloads
                for outcome in outcomes
            ],
        )

    data = rendered(hostile.PAYLOADS)
    check_xml(data, rendered(hostile.HARMLESS))
    names = [case.get("name") for case in ET.fromstring(data).iter("testcase")]
    assert set(names) == {clean(payload) for payload in hostile.PAYLOADS}


@pytest.mark.parametrize("payload", hostile.PAYLOADS, ids=hostile.NAMES)
def test_each_is_shown_as_it_is(payload: str) -> None:
    assert visible(clean(payload))
    assert len(clean(payload)) <= 12 * LONGEST
    page = Page(READER.render(markdown.escape(payload)))
    assert page.elements <= {("p", "")}
    assert page.text.replace(BREAK, "") == shown(payload)


@given(st.text(alphabet=st.characters(codec=None), max_size=40))
def test_any_text_survives_markdown_unchanged(text: str) -> None:
    table = f"| a |\n| --- |\n| {markdown.escape(text)} |\n"
    page = Page(READER.render(table))
    assert page.elements == {(tag, "") for tag in ("table", "thead", "tbody", "tr", "th", "td")}
    assert page.text.replace(BREAK, "") == f"a {shown(text)}".strip()


@given(st.text(alphabet=st.characters(codec=None), max_size=40))
def test_any_text_is_one_inert_cell(text: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerow([csv_form.inert(clean(text)), 1])
    ((cell, number),) = csv.reader(io.StringIO(out.getvalue(), newline=""), strict=True)
    assert number == "1"
    assert not cell.startswith(FORMULA)
    assert cell.replace("'", "") == clean(text).replace("'", "")
    for separator in ";\t":
        for row in csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=separator):
            assert not any(part.lstrip(' "').startswith(FORMULA) for part in row)
