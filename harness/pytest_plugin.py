"""The pytest plugin: a model's speed as a test, kept and compared by pytest-benchmark.

    def test_decode(harness_case):
        result = harness_case("my-model.gguf", "fixed-p256-n64")
        assert result.decode_tok_per_s > 8

One round of pytest-benchmark is one fresh worker process. Its clock is replaced, by the timer
option that pytest-benchmark has for it, with one that only moves by what the worker measured:
the time that pytest itself takes never counts.

pytest imports this module in every project of an environment that has harness: nothing but
pytest may be imported at the top.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import pytest

if TYPE_CHECKING:
    from harness.errors import HarnessError
    from harness.onecase import CaseResult, OneCase
    from harness.records import Record

_FIXTURE = "harness_case"


class HarnessCase(Protocol):
    """What the fixture `harness_case` is: call it once a test."""

    def __call__(
        self,
        model: str | os.PathLike[str],
        case: str,
        *,
        metric: str = "",
        processes: int = 0,
    ) -> CaseResult:
        """Measure one case of one model.

        Args:
            model: an id that `harness models list` shows, or a path from pytest's root folder.
            case: `pp512`, `tg128` (kernel mode) or `fixed-p256-n64` (what a user waits for);
                `@d1024` behind it fills the cache first.
            metric: whose seconds pytest-benchmark gets: `end_to_end_s`, `ttft_s` or `tpot_s`.
            processes: fresh processes, in place of `--harness-processes`.
        """
        ...


class MeasuredClock:
    """A timer that stands still until it is told how long something took."""

    def __init__(self) -> None:
        self.__name__ = "harness worker"  # pytest-benchmark writes it down as the timer
        self._now_s = 0.0

    def __call__(self) -> float:
        """Seconds since `reset`."""
        return self._now_s

    def reset(self) -> None:
        """Start a round at 0, so that no digit is lost to a large sum."""
        self._now_s = 0.0

    def advance(self, seconds: float) -> None:
        """Let a measured time pass."""
        self._now_s += seconds


_CLOCK = pytest.StashKey[MeasuredClock]()


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: 1 to 1000")
    return int(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the fixture `harness_case`."""
    group = parser.getgroup("harness", "speed of language models (harness_case)")
    group.addoption(
        "--harness-profile",
        metavar="NAME_OR_FILE",
        default="quick",
        help="Profile whose numbers of requests in a process are taken. Default: %(default)s",
    )
    group.addoption(
        "--harness-processes",
        metavar="K",
        type=_count,
        default=5,
        help="Fresh processes a case: the rounds of pytest-benchmark. Default: %(default)s",
    )
    group.addoption(
        "--harness-skip-missing",
        action="store_true",
        help="Skip a test whose model or engine is not installed, instead of failing.",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test that uses the fixture a clock, and the mark of a benchmark.

    With `benchmark` among its fixtures, `--benchmark-skip` and `--benchmark-only` know it too.
    """
    names: list[str] = getattr(item, "fixturenames", [])
    if _measures(item) and item.config.pluginmanager.hasplugin("benchmark"):
        clock = item.stash[_CLOCK] = MeasuredClock()
        own = item.get_closest_marker("benchmark")
        options = {**(own.kwargs if own else {}), "timer": clock}
        item.add_marker(pytest.mark.benchmark(**options), append=False)
        if "benchmark" not in names:
            names.append("benchmark")


def _measures(item: pytest.Item) -> bool:
    """Whether a test gets our fixture, itself or through others of its name: a project may
    have one called so that has nothing to do with ours.
    """
    info = getattr(item, "_fixtureinfo", None)
    for found in reversed(info.name2fixturedefs.get(_FIXTURE, ()) if info else ()):
        if found.func.__module__ == __name__:
            return True
        if _FIXTURE not in found.argnames:
            return False
    return False


@pytest.fixture
def harness_case(request: pytest.FixtureRequest) -> HarnessCase:
    """Measure a case of a model in fresh processes; pytest-benchmark keeps the times."""
    if not request.config.pluginmanager.hasplugin("benchmark"):
        from harness.errors import install_hint

        pytest.fail(
            f"harness_case needs pytest-benchmark\n  next: {install_hint('pytest-benchmark')}",
            pytrace=False,
        )
    benchmark = request.getfixturevalue("benchmark")
    clock = request.node.stash[_CLOCK]
    used: list[str] = []

    def measure(
        model: str | os.PathLike[str], case: str, *, metric: str = "", processes: int = 0
    ) -> CaseResult:
        __tracebackhide__ = True
        from harness import onecase
        from harness.errors import HarnessError

        if used:
            pytest.fail(
                f"this test has measured {used[0]} already: one case a test"
                "\n  next: @pytest.mark.parametrize",
                pytrace=False,
            )
        used.append(case)
        option = request.config.getoption
        prepare = functools.partial(
            onecase.prepare,
            model,
            case,
            metric=metric,
            profile=option("--harness-profile"),
            processes=processes or option("--harness-processes"),
            folder=request.config.rootpath,
        )
        try:
            return _run(prepare, benchmark, clock)
        except HarnessError as error:
            refused = error
        # Not within `except`: pytest would show the same error twice.
        _give_up(refused, skip_missing=option("--harness-skip-missing"))

    return measure


def _run(prepare: Callable[[], OneCase], benchmark: Any, clock: MeasuredClock) -> CaseResult:
    """One round a process; a single process where benchmarks are disabled."""
    from harness import stats
    from harness.errors import HarnessError

    try:
        one = prepare()
    except HarnessError as error:
        # To pytest-benchmark this is a benchmark that failed, not one that was forgotten.
        benchmark.pedantic(_refuse, args=(error,))
        raise
    kept: list[Record] = []
    jobs = iter(one.jobs)

    def one_process() -> None:
        # --benchmark-cprofile asks once more: there is nothing of the model's to see here.
        if job := next(jobs, None):
            seconds, records = one.measure(job)
            clock.advance(stats.median(seconds))
            kept.extend(records)

    benchmark.pedantic(one_process, setup=clock.reset, rounds=len(one.jobs))
    result = one.result(kept)
    benchmark.extra_info.update(_extra(result))
    return result


def _refuse(error: HarnessError) -> NoReturn:
    raise error


def _give_up(error: HarnessError, *, skip_missing: bool) -> NoReturn:
    __tracebackhide__ = True
    from harness.errors import PrerequisiteError

    message = f"{error}\n  reason: {error.reason}"
    if skip_missing and isinstance(error, PrerequisiteError):
        pytest.skip(message)
    pytest.fail(message, pytrace=False)


def _extra(result: CaseResult) -> dict[str, Any]:
    """What pytest-benchmark saves beside its own statistics."""
    return {
        "model": result.model,
        "case": result.case,
        "metric": result.metric,
        "seconds": [_rounded(process) for process in result.seconds],
        "metrics": dict(result.metrics),
        **result.facts,
    }


def _rounded(values: Sequence[float]) -> list[float]:
    from harness.stats import round_significant

    return [round_significant(value) for value in values]
