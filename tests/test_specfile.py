"""Every complaint about a file names file and line, the value, what is right and what next."""

from __future__ import annotations

import codecs
from pathlib import Path
from textwrap import dedent

import pytest

from harness import specfile
from harness.errors import Exit, SpecError
from harness.specfile import load_catalogue, load_device, load_profile

CATALOGUE = """\
models:
  - id: a.f16.gguf
    family: a
    format: gguf
    quantisation: f16
    source: embedded
  - id: b.int4.onnx
    family: b
    format: onnx
    quantisation: int4
    source:
      kind: hub
      repo: owner/name
      revision: 0123456789abcdef0123456789abcdef01234567
      files: [onnx/model.onnx, tokenizer.json]
      sha256:
        tokenizer.json: {hash}
    licence: MIT
    commercial: true
    context: 4096
sets:
  default: [a.f16.gguf, b.int4.onnx]
  small:
    - a.f16.gguf
""".replace("{hash}", "0a" * 32)

PROFILE = """\
id: mine
version: 1
title: Mine
reference: a.f16.gguf
tier: unverified
protocol:
  processes: {latency: 3, memory: 2, accuracy: 1}
  requests: 5
  warmup_max: 3
  grouping: suite
  job_timeout_s: 120
suites:
  latency:
    prompt_tokens: [64, 256]
    output_tokens: [64]
  memory: {context: 512, output_tokens: 64}
  accuracy: {tasks: [arith], languages: [ko, en], items: 100}
weights:
  accuracy: 0.40
  ttft_s: 0.20
  decode_tok_per_s: 0.20
  peak_resident_bytes: 0.20
gates:
  - id: memory
    metric: peak_resident_bytes
    limit: null
  - {id: first, metric: ttft_s, limit: 3, case: fixed-p256-n64}
"""

DEVICE = """\
id: laptop
name: Laptop
memory_bytes: 16 GiB
memory_budget_bytes: 8.5 GiB
power: ac
"""

LOADERS = {"models": load_catalogue, "device": load_device, "profile": load_profile}
VALID = {"models": CATALOGUE, "device": DEVICE, "profile": PROFILE}
NEXT = {
    "models": "harness models list",
    "device": "harness run --device {path} --dry-run",
    "profile": "harness run --profile {path} --dry-run",
}


def complaint(tmp_path: Path, kind: str, text: str | bytes) -> SpecError:
    path = tmp_path / f"{kind}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        LOADERS[kind](path)
    return caught.value


# (kind of file, what is replaced, by what, line, message, allowed)
FAULTS = [
    # keys
    ("models", "quantisation: f16", "quantization: f16", 5,
     ("unknown key 'quantization' in 'a.f16.gguf'; did you mean 'quantisation'? "
      "(and 1 more problem in this file)"), "id, family, format, quantisation, source"),
    ("models", "    family: a\n", "", 2, "key 'family' in 'a.f16.gguf' is missing", ""),
    ("models", "models:", "modles:", 1, "unknown key 'modles'; did you mean 'models'?",
     "models, sets"),
    ("models", "repo: owner/name", "repos: owner/name", 13,
     "unknown key 'repos' in 'source' of 'b.int4.onnx'; did you mean 'repo'?",
     "kind, path, repo, revision, files, shape, seed, sha256"),
    ("models", "kind: hub\n      repo", "repo", 11,
     "key 'kind' in 'source' of 'b.int4.onnx' is missing", ""),
    ("models", "    licence: MIT", "    licence: MIT\n    family: c", 19,
     "key 'family' is given twice, first in line 8", "each key once"),
    ("profile", "requests: 5", "request: 5", 8,
     "unknown key 'request' in 'protocol'; did you mean 'requests'?",
     "processes, requests, warmup_max, grouping, job_timeout_s"),
    ("profile", "limit: null", "limits: null", 26,
     "unknown key 'limits' in 'memory'; did you mean 'limit'?",
     "id, metric, limit, case, required, min_items"),
    ("device", "power: ac", "pwoer: ac", 5, "unknown key 'pwoer'; did you mean 'power'?",
     "id, name"),
    ("models", "context: 4096", "chat_template: none", 20, "chat_template is 'none'",
     "own, plain, canonical"),
    ("profile", "version: 1", "version: 1\nchat_template: plain", 3, "chat_template is 'plain'",
     "own, canonical"),
    # types
    ("models", "context: 4096", "context: lots", 20, "context is 'lots', text", "a whole number"),
    ("models", "context: 4096", "context: 4096.5", 20, "context is 4096.5, a number",
     "a whole number"),
    ("models", "family: a", "family: 3", 3, "family is 3, a whole number",
     "text; put it in quotes: '3'"),
    ("models", "family: a", "family: true", 3, "family is true, true or false",
     "text; put it in quotes: 'true'"),
    ("models", "family: a", "family:", 3, "family is null, nothing", "text"),
    ("models", "commercial: true", "commercial: yes", 19, "commercial is 'yes', text",
     "true or false"),
    ("models", "files: [onnx/model.onnx, tokenizer.json]", "files: model.onnx", 15,
     "files is 'model.onnx', text", "a list"),
    ("models", "[a.f16.gguf, b.int4.onnx]", "a.f16.gguf", 22, "default is 'a.f16.gguf', text",
     "a list"),
    ("models", "    source: embedded", "    source: [embedded]", 6, "source is given, a list",
     "a mapping"),
    ("models", "format: gguf", "format: ggfu", 4, "format is 'ggfu'; did you mean 'gguf'?",
     "gguf, onnx, safetensors, fake"),
    ("models", "kind: hub", "kind: hug", 12, "kind is 'hug'; did you mean 'hub'?",
     "embedded, file, folder, hub"),
    ("profile", "prompt_tokens: [64, 256]", "prompt_tokens: [64, '256']", 14,
     "prompt_tokens is '256', text", "a whole number"),
    ("profile", "accuracy: 0.40", "accuracy: most", 19, "accuracy is 'most', text", "a number"),
    ("profile", "languages: [ko, en]", "languages: [ko, kor]", 17,
     "languages is 'kor'; did you mean 'ko'?", "ko, en"),
    ("profile", "requests: 5", "requests: 012", 8, "requests is '012', text", "a whole number"),
    ("profile", "tier: unverified", "tier: gold", 5, "tier is 'gold'",
     "verified, unverified, ci, synthetic"),
    ("device", "memory_bytes: 16 GiB", "memory_bytes: 16 GB", 3, "memory_bytes is '16 GB', text",
     "a whole number"),
    ("device", "power: ac", "power: on", 5, "power is 'on'", "ac, battery, any"),
    # files to fetch
    ("models", "tokenizer.json]", "pytorch_model.bin]", 15,
     "file 'pytorch_model.bin' may run code when it is opened", "files that end in .gguf"),
    ("models", "tokenizer.json]", "modeling.py]", 15,
     "file 'modeling.py' may run code when it is opened", "files that end in .gguf"),
    ("models", "tokenizer.json]", "run.exe]", 15, "file 'run.exe' is not fetched",
     ".onnx_data"),
    ("models", "tokenizer.json]", "onnx/model.onnx]", 15,
     "file 'onnx/model.onnx' is named twice", "each file once"),
    ("models", "repo: owner/name", "repo: a--b/name", 13, "repo 'a--b/name' is not a repository",
     "owner/name"),
    ("models", "repo: owner/name", "repo: owner/..", 13, "repo 'owner/..' is not a repository",
     "owner/name"),
    ("models", "repo: owner/name", "repo: owner/a..b", 13, "repo 'owner/a..b' is not a repository",
     "owner/name"),
    # the same file, entry by entry
    ("models", "id: b.int4.onnx", "id: B.int4.onnx", 7,
     "id 'B.int4.onnx' cannot be used as a name", "lower-case letters"),
    ("models", "id: b.int4.onnx", "id: ../b", 7, "id '../b' cannot be used as a name",
     "lower-case letters"),
    ("models", "family: b", "family: 'b c'", 8, "family 'b c' cannot be used as a name",
     "lower-case letters"),
    ("models", "id: b.int4.onnx", "id: a.f16.gguf", 7,
     "id 'a.f16.gguf' is used twice, first in line 2", "ids that differ"),
    ("models", "quantisation: f16", "quantisation: ''", 5, "quantisation is empty", "q4_k_m, int4"),
    ("models", "context: 4096", "context: -1", 20, "context is -1", "0 to 1,048,576"),
    ("models", "context: 4096", "options: {threads: 9999}", 20, "threads is 9999", "0 to 1,024"),
    ("models", "context: 4096", "options: {batch_tokens: 0}", 20, "batch_tokens is 0",
     "1 to 1,048,576"),
    # sources
    ("models", "source: embedded", "source: embeded", 6,
     "source 'embeded' is not a source; did you mean 'embedded'?", "{kind: file, path: …}"),
    ("models", "source: embedded", "source: {kind: embedded, path: x}", 6,
     "a source of kind 'embedded' has no 'path'", "nothing beside the kind"),
    ("models", "source: embedded", "source: {kind: file}", 6,
     "a source of kind 'file' needs 'path'", "path"),
    ("models", "repo: owner/name", "repo: name", 13, "repo 'name' is not a repository",
     "owner/name"),
    ("models", "repo: owner/name", "repo: ../../etc", 13, "repo '../../etc' is not a repository",
     "owner/name"),
    ("models", "revision: 0123456789abcdef0123456789abcdef01234567", "revision: main", 14,
     "revision 'main' can move, a commit cannot", "the full commit, 40 hex digits"),
    ("models", "onnx/model.onnx,", "../model.onnx,", 15,
     "file '../model.onnx' would lie outside the repository", "a relative path"),
    ("models", "onnx/model.onnx,", "'C:/model.onnx',", 15,
     "file 'C:/model.onnx' would lie outside the repository", "a relative path"),
    ("models", "onnx/model.onnx,", "/model.onnx,", 15,
     "file '/model.onnx' would lie outside the repository", "a relative path"),
    ("models", "        tokenizer.json: 0a", "        tokenizer.jsn: 0a", 17,
     "sha256 of 'tokenizer.jsn', which is not one of the files; did you mean 'tokenizer.json'?",
     "onnx/model.onnx, tokenizer.json"),
    ("models", "tokenizer.json: 0a", "tokenizer.json: 0b0", 17,
     "sha256 of 'tokenizer.json' is '0b0", "64 digits out of 0-9 and a-f"),
    # sets
    ("models", "    - a.f16.gguf", "    - a.f16.ggfu", 24,
     "set 'small' names the unknown model 'a.f16.ggfu'; did you mean 'a.f16.gguf'?",
     "a.f16.gguf, b.int4.onnx"),
    ("models", "    - a.f16.gguf", "    - a.f16.gguf\n    - a.f16.gguf", 25,
     "set 'small' names 'a.f16.gguf' twice", "each model once"),
    ("models", "    - a.f16.gguf", "    []", 23, "set 'small' is empty", "a list of model ids"),
    ("models", "  small:", "  a.f16.gguf:", 23, "'a.f16.gguf' is both a set and a model",
     "two names"),
    ("models", "  small:", "  My Set:", 23, "set 'My Set' cannot be used as a name",
     "lower-case letters"),
    # profiles
    ("profile", "version: 1", "version: 0", 2, "version is 0", "1 to "),
    ("profile", "reference: a.f16.gguf", "reference: A/b", 4,
     "reference 'A/b' cannot be used as a name", "lower-case letters"),
    ("profile", "accuracy: 1}", "acuracy: 1}", 7,
     "processes of 'acuracy', which the profile does not run; did you mean 'accuracy'?",
     "accuracy, latency, memory"),
    ("profile", ", accuracy: 1}", "}", 7,
     "the number of processes of suite 'accuracy' is missing", "a line 'accuracy: 1'"),
    ("profile", "latency: 3", "latency: 0", 7, "latency is 0", "1 to 1,000"),
    ("profile", "requests: 5", "requests: 1_000_000", 8, "requests is 1000000", "1 to 10,000"),
    ("profile", "warmup_max: 3", "warmup_max: 0", 9, "warmup_max is 0", "1 to 1,000"),
    ("profile", "job_timeout_s: 120", "job_timeout_s: 0.5", 11, "job_timeout_s is 0.5",
     "1 to 86,400"),
    ("profile", "prompt_tokens: [64, 256]", "prompt_tokens: []", 14,
     "prompt_tokens is an empty list", "at least one value"),
    ("profile", "prompt_tokens: [64, 256]", "prompt_tokens: [64, 64]", 14,
     "prompt_tokens has 64 twice", "each value once"),
    ("profile", "output_tokens: [64]", "output_tokens: [1]", 15, "output_tokens is 1",
     "2 to 1,048,576"),
    ("profile", "tasks: [arith]", "tasks: []", 17, "tasks is an empty list", "at least one value"),
    ("profile", "items: 100", "items: 0", 17, "items is 0", "1 to 100,000"),
    ("profile", "items: 100", "items: 100, commitment: secret", 17, "commitment is 'secret'",
     "64 digits out of 0-9 and a-f"),
    ("profile", "memory: {context: 512", "memory: {context: 0", 16,
     "context is 0", "2 to 1,048,576"),
    ("profile", "output_tokens: 64}", "output_tokens: 512}", 16,
     "512 output tokens leave no room for a prompt in a context of 512", "at most 511"),
    ("profile", "output_tokens: 64}", "output_tokens: 64, further_contexts: [512]}", 16,
     "further_contexts has 512, which is the context that is scored", "each value once"),
    ("profile", "output_tokens: 64}", "output_tokens: 64, further_contexts: [1]}", 16,
     "further_contexts is 1", "2 to 1,048,576"),
    ("profile", "requests: 5", "requests: 5\n  processes_max: {latency: 2}", 9, "latency is 2",
     "3 to 1,000"),
    ("profile", "requests: 5", "requests: 5\n  processes_max: {task: 2}", 9,
     "processes_max of 'task', which the profile does not run", "accuracy, latency, memory"),
    ("profile", "requests: 5", "requests: 5\n  precision: 0", 9, "precision is 0", "0.001 to 1"),
    ("profile", "requests: 5", "requests: 5\n  cool_down_max_s: 1e5", 9,
     "cool_down_max_s is 100000.0", "0 to 3,600"),
    ("profile", "output_tokens: [64]", "output_tokens: [64]\n    depths: [-1]", 16,
     "depths is -1", "0 to 1,048,576"),
    ("profile", "accuracy: 0.40", "accuracy: 0.41", 18, "the weights sum to 1.01", "a sum of 1"),
    ("profile", "ttft_s: 0.20", "ttft: 0.20", 20, "unknown metric 'ttft'; did you mean 'ttft_s'?",
     "accuracy, "),
    ("profile", "ttft_s: 0.20", "ttft_s: -0.2", 20, "weight -0.2 of 'ttft_s' is not positive",
     "a number above 0; leave a metric out to ignore it"),
    ("profile", "metric: ttft_s", "metric: ttfs_s", 27,
     "unknown metric 'ttfs_s'; did you mean 'ttft_s'?", "accuracy_ratio"),
    ("profile", "limit: 3", "limit: null", 27, "gate 'first' has no limit",
     "a number; null only for peak_resident_bytes"),
    ("profile", "limit: 3", "limit: 0", 27, "limit 0 of gate 'first' is not positive",
     "a number above 0"),
    ("profile", "id: first", "id: memory", 27, "gate 'memory' is defined twice", "ids that differ"),
    ("profile", "limit: 3", "limit: 3, min_items: -1", 27, "min_items is -1", "0 to "),
    # devices
    ("device", "id: laptop", "id: My Laptop", 1, "id 'My Laptop' cannot be used as a name",
     "lower-case letters"),
    ("device", "8.5 GiB", "17 GiB", 4,
     "memory_budget_bytes 18253611008 is more than the machine has",
     "at most memory_bytes, 17179869184"),
    ("device", "memory_bytes: 16 GiB", "memory_bytes: 0", 3, "memory_bytes is 0", "1 to "),
    # grammar
    ("models", "    family: a\n", "\tfamily: a\n", 3, "the line is indented with a tab",
     "spaces only"),
    ("models", "source: embedded", "source: {kind: file", 7, "this is not YAML: ",
     "lines of the form 'key: value'"),
    ("models", "    family: a\n", "   family: a\n", 3, "this is not YAML: ",
     "lines of the form 'key: value'"),
    ("models", "family: a\n", "family: *anchor\n", 3,
     "alias '*anchor' is not allowed; write the value out", "plain keys and values"),
    ("models", "family: a\n", "family: !!python/name:os.system a\n", 3,
     "tag 'tag:yaml.org,2002:python/name:os.system' is not allowed", "plain keys and values"),
    ("models", "family: a\n", 'family: "a\\e[31m"\n', 3,
     "text with the invisible character U+001B", "printable text"),
    ("models", "family: a\n", 'family: a\n    "k\\u202e": 1\n', 4,
     "text with the invisible character U+202E", "printable text"),
    ("models", "family: a\n", "family: a\x07\n", 3, "character U+0007 is not allowed in YAML",
     "printable text"),
    ("models", "family: a\n", "? [x]\n    : a\n", 3, "a list or mapping is used as a key",
     "text as a key"),
    ("models", "context: 4096", "context: 1e999", 20, "1e999 is too large", "a finite number"),
    ("models", "sets:", "--- {}\nsets:", 21, "this is not YAML: ",
     "lines of the form 'key: value'"),
    ("models", "context: 4096", f"context: {'[' * 30}", 20, "more than 16 levels of nesting",
     "plain keys and values"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "old", "new", "line", "message", "allowed"), FAULTS, ids=[fault[4] for fault in FAULTS]
)
def test_a_fault_is_reported_at_its_line(
    tmp_path: Path, kind: str, old: str, new: str, line: int, message: str, allowed: str
) -> None:
    assert VALID[kind].count(old) >= 1
    error = complaint(tmp_path, kind, VALID[kind].replace(old, new, 1))
    path = tmp_path / f"{kind}.yaml"
    assert error.where == f"{path}:{line}"
    assert error.message.startswith(message), error.message
    assert allowed in error.allowed
    assert error.hint == f"correct it, then: {NEXT[kind].format(path=path)}"
    assert error.exit_code == Exit.SPECIFICATION
    assert str(error).splitlines()[0] == f"{path}:{line}: {error.message}"


def test_what_is_allowed_is_always_said_but_for_a_missing_key(tmp_path: Path) -> None:
    for kind, old, new, _, message, _ in FAULTS:
        error = complaint(tmp_path, kind, VALID[kind].replace(old, new, 1))
        assert error.allowed or "is missing" in error.message, message


# --- what is right --------------------------------------------------------------------


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.yaml"
    path.write_text(dedent(text), "utf-8")
    return path


def test_other_backends_are_asked_for_only_when_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking reads the metadata of every package, for each model of each command."""

    def refuse(*_: object) -> dict[str, str]:
        raise AssertionError("asked")

    monkeypatch.setattr(specfile, "targets", refuse)
    load_catalogue(write(tmp_path, CATALOGUE))
    named = CATALOGUE.replace("    source: embedded", "    backend: mine\n    source: embedded")
    with pytest.raises(AssertionError, match="asked"):
        load_catalogue(write(tmp_path, named))


def test_a_catalogue_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, CATALOGUE)
    catalogue = load_catalogue(path)
    assert catalogue.path == str(path)
    assert list(catalogue.models) == ["a.f16.gguf", "b.int4.onnx"]
    first, second = catalogue.models.values()
    assert (first.source.kind, first.commercial, first.context) == ("embedded", None, 0)
    assert first.backend_name == "llama_cpp"
    assert second.source.files == ("onnx/model.onnx", "tokenizer.json")
    assert second.source.sha256 == {"tokenizer.json": "0a" * 32}
    assert catalogue.sets == {"default": ("a.f16.gguf", "b.int4.onnx"), "small": ("a.f16.gguf",)}
    assert specfile.find_model(catalogue, "b.int4.onnx") is second
    assert specfile.find_set(catalogue, "default") == (first, second)


def test_a_catalogue_without_sets_or_models_is_allowed(tmp_path: Path) -> None:
    assert load_catalogue(write(tmp_path, "models: []\n")).sets == {}


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(codecs.BOM_UTF8 + CATALOGUE.replace("\n", "\r\n").encode())
    assert len(load_catalogue(path).models) == 2
    path.write_bytes(path.read_bytes().replace(b"format: gguf", b"format: ggfu"))
    with pytest.raises(SpecError) as caught:
        load_catalogue(path)
    assert caught.value.where == f"{path}:4"


def test_words_stay_words(tmp_path: Path) -> None:
    """`no`, `on` and dates are traps of YAML 1.1."""
    text = DEVICE + "npu: no\nnote: 2024-01-01\ncpu: 1:30\ndevice_class: '0x10'\n"
    device = load_device(write(tmp_path, text))
    assert (device.npu, device.note, device.cpu) == ("no", "2024-01-01", "1:30")


def test_sizes_may_have_units(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, DEVICE))
    assert (device.memory_bytes, device.memory_budget_bytes) == (16 << 30, 17 << 29)


def test_a_profile_is_read(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, PROFILE))
    assert profile.protocol.processes == {"latency": 3, "memory": 2, "accuracy": 1}
    assert profile.suites.latency is not None
    assert profile.suites.latency.prompt_tokens == (64, 256)
    assert profile.protocol.job_timeout_s == 120.0
    assert [gate.limit for gate in profile.gates] == [None, 3.0]
    assert profile.tolerates_unknown


def test_a_weight_needs_its_suite(tmp_path: Path) -> None:
    text = PROFILE.replace("  memory: {context: 512, output_tokens: 64}\n", "")
    error = complaint(tmp_path, "profile", text.replace(", memory: 2", ""))
    assert error.where.endswith(":21")
    assert "'peak_resident_bytes' has a weight, but the profile does not run" in error.message
    assert "'memory'" in error.allowed


def test_a_profile_runs_something(tmp_path: Path) -> None:
    text = PROFILE[: PROFILE.index("suites:")] + "suites: {}\nweights: {accuracy: 1}\n"
    error = complaint(
        tmp_path, "profile", text.replace("{latency: 3, memory: 2, accuracy: 1}", "{}")
    )
    assert error.message == "the profile runs no suite"
    assert error.allowed == (
        "accuracy, energy, fidelity, kernel, language, latency, memory, sustained, task"
    )
