"""The pytest plugin, as a startup uses it: in a pytest of its own, through its entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from harness import onecase
from harness.errors import HarnessError, PrerequisiteError, SpecError
from harness.models.reference import materialise

pytest_plugins = ["pytester"]

THREE_LINES = """
def test_decode(harness_case):
    result = harness_case("toy.fake.json", "fixed-p8-n5")
    assert result.decode_tok_per_s > 8
"""
EXACT = {"step_s": 0.004, "prefill_s_per_token": 0.001}
"""On a virtual clock: no time passes, and every figure is exact."""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a model and no configuration but that warnings are errors."""
    toy(pytester.path)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


def toy(folder: Path, **fields: object) -> Path:
    path = folder / "toy.fake.json"
    path.write_text(json.dumps(EXACT | fields), "utf-8")
    return path


def saved(project: pytest.Pytester, name: str = "out.json") -> list[dict[str, Any]]:
    benchmarks: list[dict[str, Any]] = json.loads((project.path / name).read_text())["benchmarks"]
    return benchmarks


def test_three_lines_are_a_test(project: pytest.Pytester) -> None:
    project.makepyfile(THREE_LINES)
    done = project.runpytest_subprocess("--benchmark-json=out.json", "--harness-processes=2")
    done.assert_outcomes(passed=1)
    (found,) = saved(project)
    # 8 tokens at 1 ms and 4 steps at 4 ms. Starting two workers takes a second or more: were
    # pytest's own clock in it, no digit would be right.
    assert found["stats"]["data"] == [pytest.approx(0.024, abs=1e-9)] * 2
    assert found["stats"]["rounds"] == 2
    assert found["options"]["timer"] == "harness worker"
    extra = found["extra_info"]
    assert (extra["model"], extra["case"], extra["metric"]) == (
        "toy.fake",
        "fixed-p8-n5",
        "end_to_end_s",
    )
    assert extra["metrics"]["decode_tok_per_s"] == 250
    assert extra["metrics"]["ttft_s"] == 0.008
    assert extra["seconds"] == [[pytest.approx(0.024)] * 5] * 2
    assert extra["profile"] == "quick v3"
    assert extra["options"]["threads"] >= 1
    assert len(extra["sha256"]["toy.fake.json"]) == 64


def test_a_missed_threshold_fails(project: pytest.Pytester) -> None:
    toy(project.path, step_s=0.2)
    project.makepyfile(THREE_LINES)
    done = project.runpytest_inprocess("--harness-processes=1")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*assert 5.0 > 8*"])


def test_pytest_benchmark_compares_and_fails(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.benchmark(group="kernel")
        def test_speed(benchmark, harness_case):
            assert harness_case("toy.fake.json", "tg4").kernel_tg_tok_per_s
        """
    )
    once = "--harness-processes=1"
    project.runpytest_inprocess(once, "--benchmark-save=before").assert_outcomes(passed=1)
    check = ("--benchmark-compare", "--benchmark-compare-fail=median:10%", once)
    assert project.runpytest_inprocess(*check, "--benchmark-save=same").ret == 0
    toy(project.path, step_s=0.005)
    slower = project.runpytest_subprocess(*check, "--benchmark-save=slower")
    assert slower.ret != 0
    slower.stderr.fnmatch_lines(["*Performance has regressed*"])
    files = sorted((project.path / ".benchmarks").rglob("*.json"))
    assert [json.loads(f.read_text())["benchmarks"][0]["group"] for f in files] == ["kernel"] * 3
    table = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", *files, "--columns=median,ops"],
        capture_output=True,
        text=True,
        check=True,
        cwd=project.path,
    ).stdout
    assert "test_speed (0001_before)" in table
    assert "250.0000 (1.0)" in table  # tokens a second
    assert "200.0000 (0.80)" in table


def test_a_fixture_of_the_same_name_is_left_alone(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_own="""
        import pytest

        @pytest.fixture
        def harness_case():
            return 3

        def test_own(harness_case):
            assert harness_case == 3
        """,
        test_wrapped="""
        import pytest

        @pytest.fixture
        def harness_case(harness_case):
            return lambda case: harness_case("toy.fake.json", case)

        def test_wrapped(harness_case):
            assert harness_case("tg4").kernel_tg_tok_per_s == 250
        """,
    )
    done = project.runpytest_inprocess("--harness-processes=1", "--benchmark-json=out.json")
    done.assert_outcomes(passed=2)
    assert [found["name"] for found in saved(project)] == ["test_wrapped"]


def test_disabled_runs_one_process_and_skipped_none(project: pytest.Pytester) -> None:
    project.makepyfile(THREE_LINES + "    assert len(result.seconds) == 1\n")
    done = project.runpytest_inprocess("--benchmark-disable")
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*Rounds*")
    (project.path / "toy.fake.json").unlink()  # nothing can be measured any more
    project.runpytest_inprocess("--benchmark-skip").assert_outcomes(skipped=1)


def test_what_is_missing_fails_or_is_skipped(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line that installs it; an engine that is not there is simulated by hiding it."""
    for service in ("CI", "BUILD_NUMBER"):  # there pytest repeats whole messages at its end
        monkeypatch.delenv(service, raising=False)
    project.makeconftest("import sys\nsys.modules['llama_cpp'] = None")
    project.makepyfile(
        """
        def test_engine(harness_case):
            harness_case("ref-2m.q8_0.gguf", "tg4")

        def test_model(harness_case):
            harness_case("gone/model.gguf", "tg4")
        """
    )
    done = project.runpytest_inprocess("--benchmark-json=out.json")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(
        ["*'llama_cpp' is not installed", "*next:*install llama-cpp-python gguf", "*engine_missing"]
    )
    assert done.stdout.str().count("reason: model_missing") == 1
    done.stdout.no_fnmatch_line("*During handling*")
    assert saved(project) == []
    skipped = project.runpytest_inprocess("--harness-skip-missing", "-rs")
    skipped.assert_outcomes(skipped=2)
    skipped.stdout.fnmatch_lines(["*next:*install llama-cpp-python gguf*"])


def test_wrong_uses_are_explained(project: pytest.Pytester) -> None:
    toy(project.path, reuse_prefix=True)  # an adapter that cheats: its samples are refused
    project.makepyfile(
        """
        def test_case(harness_case):
            harness_case("toy.fake.json", "tg0")

        def test_metric(harness_case):
            harness_case("toy.fake.json", "fixed-p8-n5", metric="accuracy")

        def test_twice(harness_case):
            try:
                harness_case("toy.fake.json", "tg0")
            except BaseException:
                harness_case("toy.fake.json", "tg1")

        def test_cheat(harness_case):
            harness_case("toy.fake.json", "fixed-p8-n5")
        """
    )
    done = project.runpytest_inprocess("--benchmark-json=out.json", "--harness-processes=1")
    done.assert_outcomes(failed=4)
    done.stdout.fnmatch_lines(
        [
            "*unknown case 'tg0'*",
            "*allowed: pp512, tg128, fixed-p256-n64*",
            "*'fixed-p8-n5' has no seconds of 'accuracy'*",
            "*allowed: end_to_end_s, ttft_s, tpot_s*",
            "*has measured tg0 already: one case a test*",
            "*next: @pytest.mark.parametrize*",
            "*prompt_not_evaluated*",
        ]
    )
    assert saved(project) == []
    usage = project.runpytest_inprocess("--harness-processes=0")
    assert usage.ret == pytest.ExitCode.USAGE_ERROR
    usage.stderr.fnmatch_lines(["*--harness-processes*'0'; allowed: 1 to 1000*"])


def test_without_pytest_benchmark_it_says_so(project: pytest.Pytester) -> None:
    project.makepyfile(THREE_LINES)
    done = project.runpytest_inprocess("-p", "no:benchmark", "--strict-markers")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*next:*install pytest-benchmark*"])


def test_a_real_engine(project: pytest.Pytester) -> None:
    project.makepyfile(
        f"""
        def test_decode(harness_case):
            model = {str(materialise("ref-2m.q8_0.gguf"))!r}
            result = harness_case(model, "fixed-p32-n16", metric="ttft_s")
            assert 0 < result.ttft_s < 10
            assert result.decode_tok_per_s > 1
        """
    )
    done = project.runpytest_subprocess("--benchmark-json=out.json", "--harness-processes=1")
    done.assert_outcomes(passed=1)
    (found,) = saved(project)
    assert found["extra_info"]["backend"] == "llama_cpp"
    ttft_s = found["extra_info"]["metrics"]["ttft_s"]
    assert found["stats"]["median"] == pytest.approx(ttft_s, rel=1e-5)


def test_a_project_that_does_not_use_it_pays_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing():
            names = {name for name in sys.modules if name.startswith("harness")}
            assert names == {"harness", "harness.pytest_plugin"}
            assert not {"numpy", "pydantic", "click", "yaml", "pandas"} & set(sys.modules)
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_entry_point_is_there_and_our_own_tests_leave_it_out(
    pytestconfig: pytest.Config,
) -> None:
    assert [e.value for e in entry_points(group="pytest11") if e.name == "harness"] == [
        "harness.pytest_plugin"
    ]
    assert not pytestconfig.pluginmanager.hasplugin("harness")


def measured(path: Path, case: str, **options: Any) -> onecase.CaseResult:
    one = onecase.prepare(path, case, processes=1, **options)
    return one.result([record for job in one.jobs for record in one.measure(job)[1]])


def test_figures_of_a_case(tmp_path: Path) -> None:
    found = measured(toy(tmp_path), "pp8@d4")
    assert found.kernel_pp_tok_per_s == 1000
    assert found.seconds == ((pytest.approx(0.001),) * 5,)
    with pytest.raises(AttributeError, match="case 'pp8@d4' has no 'ttft_s', only kernel_pp"):
        _ = found.ttft_s
    assert "seconds" not in repr(found)


def test_seconds_of_another_metric(tmp_path: Path) -> None:
    found = measured(toy(tmp_path), "fixed-p8-n5", metric="tpot_s")
    assert found.seconds == ((pytest.approx(0.004),) * 5,)


def test_a_path_is_taken_from_the_folder_too(tmp_path: Path) -> None:
    toy(tmp_path)
    one = onecase.prepare("toy.fake.json", "tg4", processes=3, folder=tmp_path)
    assert [job.process for job in one.jobs] == [0, 1, 2]


def test_a_case_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no such file") as missing:
        onecase.prepare(tmp_path / "gone.fake.json", "tg4")
    assert missing.value.reason == "model_missing"
    # The reference network declares 2048 tokens of context or fewer than this.
    with pytest.raises(SpecError, match="tokens of context") as long:
        onecase.prepare("ref-2m.q8_0.gguf", "tg99999")
    assert long.value.reason == "context_too_short"


def test_a_worker_that_fails_is_an_error_with_its_reason(tmp_path: Path) -> None:
    path = toy(tmp_path, fail_on_load="broken on purpose")
    with pytest.raises(HarnessError, match="broken on purpose") as caught:
        measured(path, "tg4")
    assert caught.value.hint
    assert caught.value.where == str(path)
