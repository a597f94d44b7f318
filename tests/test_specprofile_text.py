"""Profiles that read text: what they may ask for, and files that have to be there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness import specfile
from harness.errors import PrerequisiteError, SpecError
from harness.prepare import prepare
from harness.specfile import load_profile
from harness.spectext import FidelitySuite, LanguageSuite, TextFile
from tests.test_specfile import complaint

SHA = "ab" * 32
PROFILE = f"""\
id: mine
version: 1
title: Mine
reference: ref-2m.f16.gguf
tier: unverified
protocol:
  processes: {{language: 1, fidelity: 1}}
  requests: 1
  warmup_max: 1
  grouping: suite
  job_timeout_s: 60
suites:
  language: {{tokens: 512, languages: [ko, en]}}
  fidelity:
    tokens: 256
    languages: [ko]
    kld_max: 0.01
    files:
      - {{id: mine, path: mine.txt, sha256: {SHA}, licence: CC0-1.0}}
weights: {{bits_per_byte: 1}}
"""


def test_both_suites_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PROFILE)
    suites = load_profile(path).suites
    assert suites.language == LanguageSuite(tokens=512, languages=("ko", "en"))
    file = TextFile(id="mine", path="mine.txt", sha256=SHA, licence="CC0-1.0")
    assert suites.fidelity == FidelitySuite(
        tokens=256, languages=("ko",), kld_max=0.01, files=(file,)
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "allowed"),
    [
        ("tokens: 512", "tokens: 1", 13, "tokens is 1", "64 to 65,536"),
        ("tokens: 256", "tokens: 5000", 15, "tokens is 5000", "64 to 4,096"),
        ("tokens: 512,", "tokens: 512, context: 65,", 13, "context is 65",
         "an even number of tokens"),
        ("[ko, en]", "[]", 13, "languages is an empty list", "at least one value"),
        ("[ko, en]", "[ko, ko]", 13, "languages has ko twice", "each value once"),
        ("kld_max: 0.01", "kld_max: -1", 17, "kld_max is -1.0", "0 to 100"),
        ("kld_max: 0.01", "agreement_min: 97", 17, "agreement_min is 97.0", "0 to 1"),
        ("path: mine.txt", "path: ''", 19, "path is empty", "the path of a UTF-8 file"),
        (SHA, "abc", 19, "sha256 is 'abc'", "64 digits out of 0-9 and a-f"),
        ("id: mine, path", "id: ko, path", 19, "text 'ko' is there twice", "ids that differ"),
        ("bits_per_byte: 1", "kld_nat: 1", 20,
         "'kld_nat' is not for ranking: the suite 'fidelity' has gates of its own",
         "kld_max and agreement_min of the suite"),
        ("weights: {bits_per_byte: 1}",
         "weights: {bits_per_byte: 1}\ngates: [{id: near, metric: top1_agreement, limit: 0.9}]", 21,
         "'top1_agreement' is not for ranking: the suite 'fidelity' has gates of its own",
         "kld_max and agreement_min of the suite"),
    ],
)  # fmt: skip
def test_a_fault_is_reported_at_its_line(tmp_path, old, new, line, message, allowed) -> None:
    assert PROFILE.count(old) == 1
    error = complaint(tmp_path, "profile", PROFILE.replace(old, new))
    assert error.message == message
    assert error.allowed == allowed
    assert error.where.endswith(f":{line}")


def test_a_file_alone_is_a_text_too(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PROFILE.replace("    languages: [ko]\n", ""))
    assert load_profile(path).suites.fidelity.languages == ()  # type: ignore[union-attr]


def test_a_missing_or_other_text_ends_before_anything_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PROFILE)
    with pytest.raises(PrerequisiteError) as caught:
        prepare(profile=str(path))
    assert caught.value.reason == "text_missing"
    assert caught.value.where == str(tmp_path / "mine.txt")
    assert prepare(profile=str(path), suites=["language"]).jobs, "which reads another text"
    (tmp_path / "mine.txt").write_text("나의 글")
    with pytest.raises(SpecError) as wrong:
        prepare(profile=str(path))
    assert wrong.value.reason == "hash_mismatch"
    digest = hashlib.sha256("나의 글".encode()).hexdigest()
    path.write_text(PROFILE.replace(SHA, digest))
    plan = prepare(profile=str(path), models=["ref-2m.q8_0.gguf"])
    jobs = [job for job in plan.jobs if job.suite == "fidelity"]
    assert [job.model for job in jobs] == ["ref-2m.f16.gguf", "ref-2m.q8_0.gguf"]
    assert {job.folder for job in jobs} == {str(tmp_path)}


@pytest.mark.parametrize("name", ["standard", "challenge"])
def test_the_shipped_profiles_read_both_languages(name: str) -> None:
    suites = specfile.resolve_profile(name).suites
    assert suites.language == LanguageSuite(tokens=2048, languages=("ko", "en"))
    assert suites.fidelity == FidelitySuite(tokens=2048, languages=("ko", "en"))


def test_the_quick_profile_has_no_time_for_it() -> None:
    suites = specfile.resolve_profile("quick").suites
    assert suites.language is None
    assert suites.fidelity is None
