"""How often `compare` cries wolf, and what it misses: simulated runs of 20 cases.

Usage: python -m tests.perf.aa_simulation [--simulations 2000]

Draws logarithms of process medians for two runs and hands them to `welch`, `holm` and
`judge` of `harness.compare`, the very functions that compare real runs. Asked: any alarm
between two runs of the same thing in at most 5 % (upper 95 % bound at most 7 %), whatever
the distribution; a 5 % slowdown of one case found in at least 80 %; one of 2x always.

What hits a whole run alike is invisible to its processes: those worlds are also simulated
with the floor that `harness baseline noise` takes from five runs of the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt

from harness.compare import judge, welch
from harness.comparing.noise import NO_FLOOR, noise_floor
from harness.stats import holm, wilson

Floats = npt.NDArray[np.float64]
Shape = tuple[int, int, int]
Draw = Callable[[np.random.Generator, Shape], Floats]
"""Simulations, cases and processes → noise of mean 0 and variance 1."""

CASES, PROCESSES = 20, 10
MOST_ALARMS, MOST_BOUND, LEAST_POWER = 0.05, 0.07, 0.80
FLOOR_RUNS = 5


def normal(rng: np.random.Generator, shape: Shape) -> Floats:
    return rng.standard_normal(shape)


def student_3(rng: np.random.Generator, shape: Shape) -> Floats:
    """Heavy tails on both sides."""
    return rng.standard_t(3, shape) / np.sqrt(3)


def lognormal(rng: np.random.Generator, shape: Shape) -> Floats:
    """Slow processes far more often than fast ones: skewness 6."""
    draws = rng.lognormal(0, 1, shape)
    return (draws - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)


def contaminated(rng: np.random.Generator, shape: Shape) -> Floats:
    """One process in ten meets something that makes its noise five times as wide."""
    wide = rng.random(shape) < 0.1
    return rng.standard_normal(shape) * np.where(wide, 5, 1) / np.sqrt(0.9 + 0.1 * 25)


def shared(rng: np.random.Generator, shape: Shape) -> Floats:
    """Four fifths of the variance are the process's own and hit all of its cases alike."""
    simulations, cases, k = shape
    common = rng.standard_normal((simulations, 1, k))
    return np.sqrt(0.8) * common + np.sqrt(0.2) * rng.standard_normal((simulations, cases, k))


class World(NamedTuple):
    """How runs come about.

    Attributes:
        sd: of ln(process median). drift: how much slower the last process is than the first.
        slope_sd: how much the drift differs between runs. shift_sd: standard deviation of
            what hits a whole run alike. asked: whether the figures have to hold, under the
        default floor (`default`) or only under a measured one.
    """

    name: str
    noise: Draw
    sd: float = 0.02
    drift: float = 0.0
    slope_sd: float = 0.0
    shift_sd: float = 0.0
    asked: tuple[bool, bool] = (True, True)

    def run(self, rng: np.random.Generator, simulations: int, k: int, cases: int) -> Floats:
        """Logarithms `[simulations, cases, k]`."""
        order = np.linspace(-0.5, 0.5, k)
        slope = self.drift + self.slope_sd * rng.standard_normal((simulations, 1, 1))
        shift = self.shift_sd * rng.standard_normal((simulations, 1, 1))
        return self.sd * self.noise(rng, (simulations, cases, k)) + slope * order + shift


WORLDS = (
    World("normal", normal),
    World("normal, 0.5 %", normal, sd=0.005),
    World("normal, 5 %", normal, sd=0.05),
    World("Student's t with 3 degrees", student_3),
    # One process in two thousand runs is so far out that a floor measured from it hides 2x.
    World("Student's t with 3 degrees, 5 %", student_3, sd=0.05, asked=(True, False)),
    World("lognormal", lognormal),
    World("lognormal, 5 %", lognormal, sd=0.05),
    World("contaminated", contaminated),
    World("process effects", shared),
    World("drift of 2 % in a run", normal, sd=0.019, drift=0.02),
    World("drift of 2 ± 1 % in a run, t3", student_3, sd=0.019, drift=0.02, slope_sd=0.01),
    World("all at once", shared, sd=0.018, drift=0.02, slope_sd=0.01, shift_sd=0.001),
    World("runs shift by 0.3 %", normal, shift_sd=0.003, asked=(False, True)),
    World("runs shift by 0.3 %, t3", student_3, shift_sd=0.003, asked=(False, True)),
    World(
        "runs shift by 0.7 %, processes 0.5 %", normal, 0.005, shift_sd=0.007, asked=(False, True)
    ),
    World("runs shift by 0.5 %", normal, shift_sd=0.005, asked=(False, False)),
    World("runs shift by 1 %", normal, shift_sd=0.01, asked=(False, False)),
)


def verdicts(a: Floats, b: Floats, floors: Floats) -> list[list[str]]:
    """Verdicts of every simulated comparison, a case each; higher is worse.

    Args:
        a, b: `[simulations, cases, k]`. floors: smallest |effect| that counts, `[simulations]`.
    """
    found = welch(a, b)
    k = min(a.shape[-1], b.shape[-1])
    rows = zip(*(part.tolist() for part in found), floors.tolist(), strict=True)
    return [
        [
            judge(*figures, floor=floor, k=k, higher_is_better=False)
            for figures in zip(effect, lo, hi, holm(p), strict=True)
        ]
        for effect, lo, hi, p, floor in rows
    ]


def simulate(
    world: World, simulations: int, seed: int, *, slowdown: float = 1.0, runs: int = 0
) -> list[list[str]]:
    """Two runs of one thing, the first case of the second slower by a factor.

    Args:
        runs: further ones, of which the floor is taken; 0 = the default floor.
    """
    rng = np.random.default_rng(seed)
    a, b = (world.run(rng, simulations, PROCESSES, CASES) for _ in range(2))
    floors = np.full(simulations, NO_FLOOR.of("ttft_s", 1.0))
    if runs:
        means = [world.run(rng, simulations, PROCESSES, CASES).mean(axis=-1) for _ in range(runs)]
        floors = np.maximum(floors, noise_floor(np.stack(means, axis=-2)))
    b[:, 0, :] += np.log(slowdown)
    return verdicts(a, b, floors)


def alarms(found: Sequence[Sequence[str]]) -> int:
    """Comparisons in which any case was called better or worse."""
    return sum(bool({"regressed", "improved"} & set(row)) for row in found)


def found(verdicts_: Sequence[Sequence[str]]) -> int:
    """Comparisons in which the first case was called worse."""
    return sum(row[0] == "regressed" for row in verdicts_)


@click.command()
@click.option("--simulations", default=2000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(*, simulations: int, seed: int) -> None:
    """Print a row a world, and exit with 1 where a figure that was asked is missed."""
    missed = 0
    print(f"{simulations} comparisons of {CASES} cases, {PROCESSES} processes a side")
    for runs in (0, FLOOR_RUNS):
        print(f"floor: {f'of {runs} runs of the same thing' if runs else '2 %'}")
        print(f"  {'':38} any alarm   95 % bound   5 % slower   2x slower")
        for world in WORLDS:
            count = alarms(simulate(world, simulations, seed, runs=runs))
            five, double = (
                found(simulate(world, simulations, seed, slowdown=by, runs=runs))
                for by in (1.05, 2.0)
            )
            share, bound = count / simulations, wilson(count, simulations).hi
            power = five / simulations
            kept = share <= MOST_ALARMS and bound <= MOST_BOUND and double == simulations
            # At a spread above 2 % ten processes cannot find 5 %, and nobody asks it.
            kept &= world.sd > 0.02 or power >= LEAST_POWER
            asked = world.asked[bool(runs)]
            missed += asked and not kept
            mark = "" if kept else "MISSED" if asked else "does not hold, not asked"
            print(
                f"  {world.name:38} {share:9.2%} {bound:12.2%} {power:12.1%}"
                f" {double / simulations:11.2%}   {mark}",
                flush=True,
            )
    raise SystemExit(int(missed > 0))


if __name__ == "__main__":
    main()
