"""What happens once everything is scored: the seed is revealed, and anybody checks it.

A revealed seed has to give the published commitment, and then gives every item again:
as files to read, and beside the template and level of each recorded item of a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from harness import __version__
from harness.cases import Case, accuracy_cases
from harness.durable import write_whole
from harness.errors import Exit, HarnessError, SpecError, printable
from harness.records import current
from harness.seeds import (
    HEX64,
    check,
    commitment_of,
    generator_sha256,
    joined,
    profile_sha256,
    read_text,
    seed_from_hex,
    statement,
    suite_of,
)
from harness.spec import AccuracySuite, Form, Profile, canonical, to_json
from harness.suites.tasks import case_item
from harness.suites.tasks.base import Item

_SHOWN_MISMATCHES: Final = 10


class Verdict(NamedTuple):
    """Whether a revealed seed is the one that was committed to.

    Attributes:
        commitment: computed here. published: what it is compared with.
        differs: `line` where the profile names another commitment; `generator` or `profile`
            where those of the published statement are not the ones here, or `seed`; empty
            where only a hash was published.
    """

    matches: bool
    commitment: str
    published: str
    differs: tuple[str, ...]


def reveal(seed: bytes, profile: Profile) -> dict[str, Any]:
    """The statement with the seed, for publication after scoring.

    Raises:
        SpecError: `seed_mismatch`: the profile's commitment is another seed's.
    """
    if committed := suite_of(profile).commitment:
        check(committed, seed, profile)
    return {"seed": seed.hex(), **statement(seed, profile), "committed": bool(committed)}


def verify(seed: bytes, published: Mapping[str, Any], profile: Profile) -> Verdict:
    """Compare a revealed seed with a published statement, or with its `commitment` alone."""
    found, expected = commitment_of(seed, profile), str(published["commitment"])
    if suite_of(profile).commitment not in {"", expected}:
        return Verdict(False, found, expected, ("line",))  # noqa: FBT003
    if found == expected:
        return Verdict(True, found, expected, ())  # noqa: FBT003
    stated = {"generator": published.get("generator"), "profile": _profile_hash(published)}
    here = {"generator": generator_sha256(), "profile": profile_sha256(profile)}
    if not all(isinstance(each, str) and HEX64.fullmatch(each) for each in stated.values()):
        return Verdict(False, found, expected, ())  # noqa: FBT003
    differs = [name for name, value in stated.items() if value != here[name]]
    if joined(seed, str(stated["generator"]), str(stated["profile"])) != expected:
        differs = ["seed"]
    return Verdict(False, found, expected, tuple(differs))  # noqa: FBT003


def _profile_hash(published: Mapping[str, Any]) -> object:
    profile = published.get("profile")
    return profile.get("sha256") if isinstance(profile, Mapping) else None


def examine(
    seed: str,
    profile: Profile,
    *,
    published: str | None = None,
    items: Path | None = None,
    records: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """All that `harness accuracy verify` says.

    Args:
        seed: 64 hex digits, or a file with a revealed seed.
        published: a commitment or a statement's file; None takes the profile's line.
        items: folder that every item is written to.
        records: of a run whose items are compared.

    Raises:
        SpecError, PrerequisiteError: something cannot be read, or there is nothing to compare.
    """
    value, suite = revealed(seed), suite_of(profile)
    if published is None and not suite.commitment:
        raise SpecError(
            f"profile '{profile.id}' has no commitment to compare with",
            allowed="the published hash, or the file of its statement",
            hint="harness accuracy verify REVEALED --commitment HEX_OR_FILE",
            reason="no_commitment",
        )
    stated = {"commitment": suite.commitment} if published is None else read_published(published)
    verdict = verify(value, stated, profile)
    run = check_run(records, suite, value) if records is not None else None
    return {
        "verified": verdict.matches and (run is None or run.matches),
        "matches": verdict.matches,
        "commitment": verdict.commitment,
        "published": verdict.published,
        "differs": list(verdict.differs),
        "generator": generator_sha256(),
        "profile": profile_sha256(profile),
        "harness": __version__,
        "made_by": _clean(stated.get("harness", "")),
        "items": write_items(items, suite, value) if items else {},
        "run": run and {**run._asdict(), "matches": run.matches},
    }


_DIFFERS: Final[Mapping[str, str]] = {
    "seed": "this is not the seed that was committed to",
    "generator": "the seed is right, but this harness makes other items: install the version "
    "that the statement names",
    "profile": "the seed is right, but the profile is another one than at the commitment",
    "line": "the profile names another commitment than the one that was published",
}


def text(found: Mapping[str, Any]) -> str:
    """What `examine` found, for people."""
    same = "matches" if found["matches"] else "does not match"
    lines = [f"the seed {same}: {found['commitment']}, published {found['published']}"]
    lines += [f"  {_DIFFERS[name]}" for name in found["differs"]]
    if not found["matches"] and found["made_by"] not in {"", found["harness"]}:
        lines.append(
            f"  the statement is of harness {found['made_by']}, this is {found['harness']}"
        )
    if not found["matches"] and not found["differs"]:
        lines.append("  --commitment STATEMENT.json says whether it is the seed or something else")
    lines += [f"wrote {count} items: {name}" for name, count in found["items"].items()]
    if run := found["run"]:
        word = "are" if run["matches"] else "are not all"
        lines.append(
            f"the run's items {word} those of the seed: {run['checked']} equal, "
            f"{run['different']} different, {run['missing']} not recorded"
        )
        lines += [f"  {example}" for example in run["examples"]]
    return "\n".join(lines)


def exit_code(found: Mapping[str, Any]) -> Exit:
    """0 where everything matches, else 1."""
    return Exit.DONE if found["verified"] else Exit.REGRESSED


def revealed(text: str) -> bytes:
    """The seed of 64 hex digits, a seed file, or a file that `reveal` printed.

    Raises:
        SpecError, PrerequisiteError: it is none of these.
    """
    if HEX64.fullmatch(text):
        return seed_from_hex(text)
    content = read_text(Path(text), what="revealed seed")
    if content.lstrip().startswith("{"):
        content = str(_object(content, text).get("seed", ""))
    return seed_from_hex(content.strip(), where=text)


def read_published(text: str) -> dict[str, Any]:
    """A commitment of 64 hex digits, or the statement in a file.

    Raises:
        SpecError, PrerequisiteError: it is neither.
    """
    if HEX64.fullmatch(text):
        return {"commitment": text}
    found = _object(read_text(Path(text), what="published statement"), text)
    if not HEX64.fullmatch(str(found.get("commitment", ""))):
        _not_published(text)
    return found


def _object(content: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        _not_published(where)
    return found


def _not_published(where: str) -> NoReturn:
    raise SpecError(
        "this is nothing that `harness accuracy commit` or `reveal` wrote",
        where=where,
        allowed="64 hex digits, or their JSON",
        hint="harness accuracy verify --help",
        reason="bad_statement",
    )


class Rebuilt(NamedTuple):
    """One generated item and its place; `number` counts from 0 in each form of a case."""

    case: str
    form: Form
    number: int
    item: Item


def rebuild(suite: AccuracySuite, seed: bytes) -> Iterator[Rebuilt]:
    """Every generated item that a suite asks, in order."""
    for case in accuracy_cases(replace(suite, data=())):
        for form in case.forms:
            for number in range(case.items_of(form)):
                yield Rebuilt(case.id, form, number, case_item(case, form, number, seed))


def write_items(folder: Path, suite: AccuracySuite, seed: bytes) -> dict[str, int]:
    """Write every item, a JSON object a line, into `<case>-<form>.jsonl`.

    Returns:
        Number of items by file name. Equal seeds give equal bytes on every machine.

    Raises:
        RecordError: the folder cannot be written.
    """
    lines: dict[str, list[bytes]] = {}
    for found in rebuild(suite, seed):
        line = canonical({"index": found.number, **to_json(found.item)})
        lines.setdefault(f"{found.case}-{found.form}.jsonl", []).append(line + b"\n")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"cannot make the folder: {error.strerror}",
            where=str(folder),
            hint="harness accuracy verify … --items ANOTHER_FOLDER",
            reason="unwritable",
        ) from error
    for name, content in lines.items():
        write_whole(folder / name, b"".join(content))
    return {name: len(content) for name, content in lines.items()}


_Place = tuple[str, Any, int]
"""Case, form and number of an item."""


class RunCheck(NamedTuple):
    """Recorded items beside rebuilt ones.

    Attributes:
        checked: equal ones, over all models.
        different: others, of which `examples` names some.
        missing: items of a model's cases that it neither answered nor skipped.
    """

    checked: int
    different: int
    missing: int
    examples: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """There are items, and all of them are the rebuilt ones."""
        return self.checked > 0 and not self.different


def check_run(records: Sequence[Mapping[str, Any]], suite: AccuracySuite, seed: bytes) -> RunCheck:
    """Compare template and level of every recorded item with the seed's own."""
    chosen = _most_within_budget(records)
    suite = replace(suite, items=max(suite.items, chosen), data=())
    cases = {case.id: case for case in accuracy_cases(suite)}

    @cache
    def rebuilt(name: str, form: Form, number: int) -> tuple[str, int] | None:
        case = cases[name]
        if form not in case.forms or not 0 <= number < case.items_of(form):
            return None
        item = case_item(case, form, number, seed)
        return item.template, item.level

    seen: set[tuple[str, _Place]] = set()
    checked = 0
    different: list[str] = []
    for record in current(records):
        kind, case = record.get("kind"), record.get("case")
        if record["type"] != "sample" or kind not in {"item", "item_skipped"} or case not in cases:
            continue
        number = record.get("index")
        number = number if isinstance(number, int) else -1
        place: _Place = (str(case), str(record.get("form")), number)
        seen.add((str(record.get("model")), place))
        if kind == "item_skipped":
            continue
        found, own = (record.get("template"), record.get("level")), rebuilt(*place)
        if found == own:
            checked += 1
        else:
            different.append(f"{_clean(record.get('model'))} {_shown(place)}: {found}, not {own}")
    missing = _missing(seen, cases, whole=not chosen)
    return RunCheck(checked, len(different), missing, tuple(different[:_SHOWN_MISMATCHES]))


def _most_within_budget(records: Iterable[Mapping[str, Any]]) -> int:
    """Items of a case that a run's time budget chose from; 0 where it had none."""
    run = next((record for record in records if record["type"] == "run"), {})
    found = ((run.get("profile") or {}).get("suites") or {}).get("accuracy") or {}
    most = found.get("items")
    return most if found.get("budget_s") and isinstance(most, int) else 0


def _missing(seen: set[tuple[str, _Place]], cases: Mapping[str, Case], *, whole: bool) -> int:
    """Items that a model was not asked: of `whole` cases, or of what any model was asked."""
    asked = {(model, name) for model, (name, _, _) in seen}
    places: dict[str, set[_Place]] = {name: set() for _, name in asked}
    for name, found in places.items():
        if whole:
            case = cases[name]
            found |= {(name, form, n) for form in case.forms for n in range(case.items_of(form))}
        else:
            found |= {place for _, place in seen if place[0] == name}
    return sum((model, place) not in seen for model, name in asked for place in places[name])


def _clean(value: object) -> str:
    """A field of a file that somebody else wrote."""
    return printable(str(value)[:100])


def _shown(place: _Place) -> str:
    case, form, number = place
    return _clean(f"{case} {form} #{number}")
