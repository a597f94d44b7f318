"""Which artefact the others of a family are held against, and what a plan makes of it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from harness import plan as planning
from harness.cases import cases_of
from harness.families import precision, references
from harness.job import Job
from harness.plan import Plan, Skip
from harness.scoring.rules import read_rules
from harness.spec import Artefact, Model, Source, Suites, profile_from_json, to_json
from harness.spectext import FidelitySuite, LanguageSuite, TextFile
from tests.test_plan import DEVICE, PROFILE

TEXT = TextFile(id="mine", path="texts/mine.txt", sha256="ab" * 32)
FIDELITY = FidelitySuite(tokens=256, languages=("ko", "en"), files=(TEXT,))
SUITES = Suites(
    latency=PROFILE.suites.latency,
    accuracy=PROFILE.suites.accuracy,
    language=LanguageSuite(tokens=128, languages=("en",), context=256),
    fidelity=FIDELITY,
)


def artefact(name: str, **changes: object) -> Artefact:
    """`family.quantisation.format`; files differ with the name."""
    family, quantisation, kind = name.split(".")[:3]
    model = Model(
        id=name,
        family=family,
        format=kind,  # type: ignore[arg-type]
        quantisation=quantisation,
        source=Source(kind="file", path=name),
    )
    files = {"model": str(changes.pop("sha256", name))}
    model = dataclasses.replace(model, **changes)  # type: ignore[arg-type]
    return Artefact(model=model, path=f"/x/{name}", sha256=files, size_bytes=1000)


def build(*artefacts: Artefact, suites: Suites = SUITES, **changes: object) -> Plan:
    profile = dataclasses.replace(PROFILE, suites=suites)
    return planning.build(profile, DEVICE, artefacts, threads=2, **changes)  # type: ignore[arg-type]


def fidelity(plan: Plan) -> dict[str, Job]:
    return {job.model: job for job in plan.jobs if job.suite == "fidelity"}


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("f32", 32), ("fp32", 32), ("F16", 16), ("fp16", 16), ("bf16", 16), ("q8_0", 8),
        ("int8", 8), ("uint8", 8), ("q6_k", 6), ("q5_k_m", 5), ("q4_k_m", 4), ("iq4_xs", 4),
        ("int4", 4), ("q4f16", 4), ("iq3_xxs", 3), ("q2_k", 2), ("int16", 0), ("unknown", 0),
        ("", 0),
    ],
)  # fmt: skip
def test_precision_is_read_from_the_name(name: str, bits: int) -> None:
    assert precision(name) == bits


def test_the_most_precise_artefact_is_the_reference_whatever_its_format() -> None:
    names = ("a.q8_0.gguf", "a.fp32.onnx", "a.f16.gguf", "b.q4_0.gguf", "b.int8.onnx", "c.f32.gguf")
    for order in itertools.permutations(map(artefact, names), 6):
        found = {family: best.model.id for family, best in references(order).items()}
        assert found == {"a": "a.fp32.onnx", "b": "b.int8.onnx"}


def test_of_equal_ones_the_first_id_is_the_reference() -> None:
    found = references(map(artefact, ("a.q4_0.gguf", "a.int4.onnx", "a.q4_k_m.gguf")))
    assert found["a"].model.id == "a.int4.onnx"


def test_what_shares_its_files_is_no_family() -> None:
    twin = artefact("a.f16.gguf", id="twin", sha256="same")
    plain = artefact("a.f16.gguf", sha256="same")
    tuned = artefact("b.f16.gguf", id="b.f16.gguf.tuned", tuned=True)
    noise = artefact("c.q8_0.gguf", synthetic=True)
    alone = [plain, twin, artefact("b.f16.gguf"), tuned, artefact("c.f16.gguf"), noise]
    assert references(alone) == {}


def test_every_case_names_what_it_is_held_against() -> None:
    plan = build(*map(artefact, ("a.q8_0.gguf", "a.f16.gguf", "b.f16.gguf")))
    jobs = fidelity(plan)
    assert set(jobs) == {"a.q8_0.gguf", "a.f16.gguf"}
    for job in jobs.values():
        assert [case.id for case in job.cases] == ["fidelity-ko", "fidelity-en", "fidelity-mine"]
        assert {case.reference for case in job.cases} == {"a.f16.gguf"}
        assert {len(case.reference_sha256) for case in job.cases} == {64}
        assert job.options.context >= 512
    skips = [skip for skip in plan.skipped if skip.reason == "no_reference"]
    assert {(skip.model, skip.case) for skip in skips} == {
        ("b.f16.gguf", f"fidelity-{text}") for text in ("ko", "en", "mine")
    }


@pytest.mark.parametrize("grouping", ["suite", "case"])
@pytest.mark.parametrize("only", [(), ("fidelity",)])
def test_the_reference_runs_before_those_that_need_it(grouping: str, only: tuple[str, ...]) -> None:
    names = ("a.q8_0.gguf", "a.f16.gguf", "a.int4.onnx", "b.fp32.onnx", "b.int8.onnx")
    protocol = dataclasses.replace(PROFILE.protocol, grouping=grouping)  # type: ignore[arg-type]
    profile = dataclasses.replace(PROFILE, suites=SUITES, protocol=protocol)
    plan = planning.build(profile, DEVICE, list(map(artefact, names)), threads=2, suites=only)
    left: set[tuple[str, str]] = set()
    for job in plan.jobs:
        for case in job.cases:
            if job.suite == "fidelity":
                assert job.model == case.reference or (case.reference, case.id) in left
                left.add((job.model, case.id))


def test_ids_depend_on_the_reference_and_not_on_the_folder() -> None:
    def ids(*names: str, sha256: str = "x", folder: str = "") -> dict[str, str]:
        found = [artefact(name, sha256=f"{name} {sha256}") for name in names]
        return {model: job.id for model, job in fidelity(build(*found, folder=folder)).items()}

    plain = ids("a.q8_0.gguf", "a.f16.gguf")
    assert ids("a.q8_0.gguf", "a.f16.gguf", folder="/elsewhere") == plain
    assert ids("a.q8_0.gguf", "a.f16.gguf", "a.q4_0.gguf")["a.q8_0.gguf"] == plain["a.q8_0.gguf"]
    assert ids("a.q8_0.gguf", "a.f32.gguf")["a.q8_0.gguf"] != plain["a.q8_0.gguf"]


def test_a_text_of_ones_own_is_found_beside_the_profile() -> None:
    plan = build(artefact("a.q8_0.gguf"), artefact("a.f16.gguf"), folder="/profiles")
    for job in plan.jobs:
        own = [case for case in job.cases if case.text]
        assert job.folder == ("/profiles" if own else "")
        assert all(case.text_sha256 == TEXT.sha256 for case in own)


def test_tuned_entries_are_not_compared() -> None:
    tuned = artefact("a.f16.gguf", id="a.f16.gguf.tuned", tuned=True)
    plan = build(artefact("a.f16.gguf"), artefact("a.q8_0.gguf"), tuned)
    assert set(fidelity(plan)) == {"a.f16.gguf", "a.q8_0.gguf"}
    assert not [skip for skip in plan.skipped if skip.model == tuned.model.id]


def test_random_weights_are_asked_nothing() -> None:
    plan = build(
        artefact("a.f16.gguf"), artefact("a.q8_0.gguf"), artefact("a.q4_0.gguf", synthetic=True)
    )
    assert {job.suite for job in plan.jobs if job.model == "a.q4_0.gguf"} == {"latency"}
    skips = [skip for skip in plan.skipped if skip.model == "a.q4_0.gguf"]
    assert {(skip.reason, skip.case) for skip in skips} == {
        ("synthetic_weights", suite) for suite in ("accuracy", "language", "fidelity")
    }
    assert all(isinstance(skip, Skip) for skip in skips)


def test_a_short_context_leaves_the_texts_out() -> None:
    found = [artefact(name, context=400) for name in ("a.f16.gguf", "a.q8_0.gguf")]
    suites = dataclasses.replace(SUITES, latency=None, accuracy=None)
    plan = build(*found, suites=suites)
    assert {job.suite for job in plan.jobs} == {"language"}, "whose window is shorter"
    suites = dataclasses.replace(suites, language=LanguageSuite(tokens=128, languages=("en",)))
    assert build(*found, suites=suites).jobs == ()
    weighed = dataclasses.replace(PROFILE, suites=suites, weights={"bits_per_byte": 1.0})
    plan = planning.build(weighed, DEVICE, found, threads=2)
    assert [skip.case for skip in plan.skipped] == ["", ""], "no score is possible"
    plan = build(*found, suites=dataclasses.replace(SUITES, accuracy=None, latency=None))
    reasons = {(s.case, s.reason) for s in plan.skipped if s.model == "a.f16.gguf"}
    assert ("fidelity-ko", "context_too_short") in reasons


def test_texts_survive_the_record() -> None:
    profile = dataclasses.replace(PROFILE, suites=SUITES)
    assert profile_from_json(to_json(profile)) == profile
    cases = read_rules(to_json(profile)).cases
    assert list(cases["fidelity"]) == [case.id for case in cases_of(profile)["fidelity"]]
    assert not cases["language"]["text-en"].scored, "only where it is weighed"
    assert not cases["fidelity"]["fidelity-ko"].scored
