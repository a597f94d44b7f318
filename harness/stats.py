"""Robust summaries, resampling, intervals and multiple testing. Pure.

Resampling draws from SplitMix64 used as a counter: draw i of a stream is a function of
(key, i) alone, in 64-bit integers. The same records so give the same bytes on every
platform and numpy version, and adding a model leaves the others' draws as they were.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Counts = npt.NDArray[np.unsignedinteger[Any]]

RESAMPLES = 2000
CONFIDENCE = 0.95
DIGITS = 6
OUTLIER_MADS = 14.8

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK_64 = (1 << 64) - 1


class Interval(NamedTuple):
    """Lower and upper bound of a 95 % interval."""

    lo: float
    hi: float


def round_significant(value: float) -> float:
    """To 6 significant digits: what thresholds see and scorecards say.

    Raises:
        ValueError: NaN or infinite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be reported")
    # Adding 0.0 turns -0.0 into 0.0, which would otherwise be written differently.
    return float(f"{value:.{DIGITS}g}") + 0.0


def quiet(value: float) -> float:
    """The value, or 0 where it is only what rounding errors leave of one."""
    return value if abs(value) > 1e-12 else 0.0


def median(values: Sequence[float] | Floats) -> float:
    """Middle value; the mean of the two middle ones for an even count."""
    return float(middle(np.asarray(values, dtype=np.float64)))


def middle(values: Floats) -> Floats:
    """Median along the last axis, as `np.median` has it for finite values, in a tenth of the time
    where they are few.
    """
    half, odd = divmod(values.shape[-1], 2)
    # Up to some dozens, sorting is faster than looking for the middle.
    ordered = np.sort(values) if half < 16 else np.partition(values, (half - 1, half))
    upper: Floats = ordered[..., half]
    return upper if odd else (ordered[..., half - 1] + upper) / 2


def medians(groups: Sequence[Floats]) -> Floats:
    """Middle value of each group, `[groups]`; groups of one size are taken together."""
    if len({group.size for group in groups}) == 1:
        return middle(np.stack(groups))
    return np.array([float(middle(group)) for group in groups])


def outliers(values: Floats) -> tuple[Indices, Floats]:
    """How many values lie more than 14.8 MAD from the median, and the MAD, along the last axis:
    `[..., n]` → `[...]` each. They are kept.

    Modified z of Iglewicz and Hoaglin (1993), in units of the unscaled MAD as hyperfine
    counts them: 14.8 are ten standard deviations of a normal. With a MAD of 0 every
    value off the median is one.
    """
    deviation = np.abs(values - middle(values)[..., None])
    mad = middle(deviation)
    return np.count_nonzero(deviation > OUTLIER_MADS * mad[..., None], axis=-1), mad


def stream(*key: object) -> int:
    """64-bit seed of a named stream of draws: sha256 of the key's parts."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def random_words(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """The first `count` outputs of SplitMix64 (Steele, Lea and Flood 2014)."""
    # Arrays, not scalars: numpy warns when a uint64 scalar wraps, and wrapping is meant.
    state = np.arange(1, count + 1, dtype=np.uint64)
    state *= np.uint64(_GAMMA)
    state += np.array([seed & _MASK_64], dtype=np.uint64)
    state ^= state >> np.uint64(30)
    state *= np.uint64(_MIX_1)
    state ^= state >> np.uint64(27)
    state *= np.uint64(_MIX_2)
    state ^= state >> np.uint64(31)
    return state


def random_below(seed: int, shape: tuple[int, ...], bound: int) -> Indices:
    """Integers 0 … bound - 1 of the given shape (multiply and shift, Lemire 2019).

    From the upper 32 bits; without rejection the bias is below bound / 2^32.
    """
    if not 0 < bound < 1 << 31:
        raise ValueError(f"bound {bound} is outside 1 … 2^31 - 1")
    words = random_words(seed, math.prod(shape))
    words >>= np.uint64(32)
    words *= np.uint64(bound)
    words >>= np.uint64(32)
    return words.view(np.int64).reshape(shape)  # below 2^31


def resample_units(seed: int, units: int, resamples: int = RESAMPLES) -> Indices:
    """Indices `[resamples, m]` of a bootstrap over `units` independent units.

    m = units, but 1 for two units: the bootstrap variance of a mean of two is half of
    what it should be, and drawing units - 1 mends that (Rao and Wu 1988).
    """
    return random_below(seed, (resamples, 1 if units == 2 else units), units)


def drawn_counts(drawn: Indices, units: int) -> Counts:
    """How often each unit is drawn in each resample: `[B, m]` → `[units, B]`, of the smallest type
    that holds what is drawn in one.
    """
    resamples, draws = drawn.shape
    places = drawn + np.arange(resamples)[:, None] * units
    counts = np.bincount(places.ravel(), minlength=resamples * units)
    return np.ascontiguousarray(counts.reshape(resamples, units).T, dtype=np.min_scalar_type(draws))


def process_medians(values: Floats, counts: Counts) -> Floats:
    """Median of the drawn units in each resample, of each row: `[S, units]`, `[units, B]` →
    `[S, B]`.

    The counts serve every metric of the same draws; adding them up in the order of the values
    is several times faster than sorting what was drawn.
    """
    order = np.argsort(values, axis=1, kind="stable")
    ascending = np.take_along_axis(values, order, 1)
    # How many of the drawn are at or below each value: the median is where half of them are.
    # Unit by unit: `np.add.accumulate` takes several times as long.
    below = counts[order.T]
    for unit in range(1, len(below)):
        below[unit] += below[unit - 1]
    half, odd = divmod(int(below[-1, 0, 0]), 2)

    def value_behind(passed: npt.NDArray[np.bool_]) -> Floats:
        places = np.add.reduce(passed, axis=0, dtype=np.min_scalar_type(len(passed)))
        return np.stack([row[found] for row, found in zip(ascending, places, strict=True)])

    upper = value_behind(below <= half)
    return upper if odd else (upper + value_behind(below < half)) / 2


def request_medians(values: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Bootstrap of the median of one process's requests: `[n]` → `[B]`.

    Of several processes the processes are drawn; with a single one the spread between processes
    stays unknown.
    """
    shape = (resamples, values.size)
    return middle(values[random_below(stream(seed, "request", 0, 0), shape, values.size)])


def resampled_counts(seed: int, clusters: int, resamples: int = RESAMPLES) -> Floats:
    """How often each cluster is drawn in each resample, `[resamples, clusters]`.

    clusters - 1 draws a resample: unbiased variance of a mean (Rao and Wu 1988), which
    matters for the dozen templates of a task. One cluster is always drawn once.
    """
    draws = max(1, clusters - 1)
    drawn = random_below(seed, (resamples, draws), clusters)
    drawn += np.arange(resamples, dtype=np.int64)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=resamples * clusters)
    return counts.reshape(resamples, clusters).astype(np.float64)


def percentile_interval(draws: Floats, value: float) -> Interval:
    """Percentile bootstrap interval (Efron 1979), widened to hold the estimate itself."""
    return percentile_intervals(draws[None], [value])[0]


def percentile_intervals(draws: Floats, values: Sequence[float]) -> list[Interval]:
    """As `percentile_interval`, of several estimates: `[n, B]` and `[n]`."""
    tail = 100 * (1 - CONFIDENCE) / 2
    lows, highs = quantiles(draws, (tail / 100, (100 - tail) / 100)).tolist()
    rows = zip(values, lows, highs, strict=True)
    return [Interval(min(lo, value), max(hi, value)) for value, lo, hi in rows]


def quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """With linear interpolation (Hyndman and Fan 1996, definition 7), along the last axis:
    `[..., n]` → `[shares, ...]`. What `np.quantile` gives for shares from 0 to below 1, to the
    last bit, without the checks that take twenty times as long.
    """
    last = values.shape[-1] - 1
    places = [last * share for share in shares]
    pairs = [(int(place), min(int(place) + 1, last)) for place in places]
    ordered = np.partition(values, sorted({at for pair in pairs for at in pair}))
    out = []
    for place, (below, above) in zip(places, pairs, strict=True):
        first, second, part = ordered[..., below], ordered[..., above], place % 1
        step = second - first
        out.append(first + step * part if part < 0.5 else second - step * (1 - part))
    return np.stack(out)


def quantile(values: Floats, share: float) -> Floats:
    """As `quantiles`, of one share: `[..., n]` → `[...]`."""
    found: Floats = quantiles(values, (share,))[0]
    return found


def wilson(successes: float, n: int) -> Interval:
    """95 % score interval of a proportion (Wilson 1927).

    Raises:
        ValueError: n < 1 or successes outside 0 … n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding error must not push a bound past a certain outcome.
    return Interval(
        0.0 if successes == 0 else max(0.0, (centre - half) / scale),
        1.0 if successes == n else min(1.0, (centre + half) / scale),
    )


def student_t(freedom: int, tail: float = (1 - CONFIDENCE) / 2) -> float:
    """Quantile of Student's t that is exceeded with probability `tail`; by default half-widths
    of two-sided 95 % intervals.

    Closed forms for 1 and 2 degrees of freedom, above them the expansion of Fisher and
    Cornish (1960): at 2.5 % within 0.2 % from 3 on, at 0.1 % within 0.1 % from 18 on.

    Raises:
        ValueError: fewer than 1 degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    if freedom == 1:
        return 1 / math.tan(math.pi * tail)
    if freedom == 2:
        return (1 - 2 * tail) * math.sqrt(1 / (2 * tail * (1 - tail)))
    z = NormalDist().inv_cdf(1 - tail)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom ** (i + 1) for i, term in enumerate(terms))


def mean_interval(values: Sequence[float], parts: Sequence[Interval]) -> Interval:
    """Interval of a mean of independent estimates from theirs (MOVER, Zou and Donner 2008)."""
    centre = math.fsum(values) / len(values)
    pairs = list(zip(values, parts, strict=True))
    below = math.sqrt(math.fsum((value - part.lo) ** 2 for value, part in pairs))
    above = math.sqrt(math.fsum((part.hi - value) ** 2 for value, part in pairs))
    return Interval(centre - below / len(values), centre + above / len(values))


def two_sided_p(difference: float, standard_error: float) -> float:
    """P of a difference at least this large under no difference.

    Without any spread, equal is 1 and different is 0.
    """
    if difference == 0.0:
        return 1.0
    if standard_error == 0.0:
        return 0.0
    return math.erfc(abs(difference) / standard_error / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the given order (Holm 1979, step-down Bonferroni)."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[i]))
        adjusted[i] = largest
    return adjusted


_EXACT = frozenset({str, int, bool, type(None)})
"""Types that need no rounding: looked up first, for most values are of them."""


def round_all(value: Any) -> Any:
    """JSON data with every float rounded to 6 significant digits.

    Raises:
        ValueError: a NaN or an infinity is inside.
    """
    kind = type(value)
    if kind is float:
        return round_significant(value)
    if kind in _EXACT:
        return value
    if isinstance(value, dict):
        return {key: round_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [round_all(item) for item in value]
    return round_significant(value) if isinstance(value, float) else value
