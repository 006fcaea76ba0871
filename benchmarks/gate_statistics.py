"""How often a gate errs: false alarms, coverage and power over simulated gates.

    python -m benchmarks.gate_statistics [--gates 10000]

Each line is one setting: so many samples, of which some are lost and gained in truth. `promised` is
what the gate states, `found` the share of the simulated gates.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.gate import statistics
from edgeq.metrics.resampling import bootstrap_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Row = tuple[str, int, str, float]
    Counts = NDArray[np.int64]

ROW = "| {} | {:,} | {} | {:.4f} |"
SIZES = (50, 200, 360, 1_000, 10_000)
CHANGING = (0.0, 0.005, 0.02, 0.1)


def main() -> None:
    """Simulate, and print a table for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=10_000)
    gates: int = parser.parse_args().gates
    random = np.random.default_rng(0)
    for title, rows in (
        ("worse: false alarms", worse(random, gates)),
        ("equivalent: false alarms", equivalent(random, gates)),
        ("changed: false alarms", changed(random, gates)),
        ("power", power(random, gates)),
        ("intervals of a drop: coverage", drops(random, gates)),
        ("bootstrap intervals of another figure: coverage", figures(random, gates)),
    ):
        print(f"\n## {title}\n\n| setting | samples | promised | found |\n|---|--:|--:|--:|")
        for row in rows:
            print(ROW.format(*row), flush=True)


def outcomes(
    random: np.random.Generator, gates: int, samples: int, loss: float, gain: float
) -> tuple[Counts, Counts]:
    """Losses and gains of so many gates, (gates,) each."""
    found = random.multinomial(samples, [loss, gain, 1 - loss - gain], gates)
    return found[:, 0], found[:, 1]


def worse(random: np.random.Generator, gates: int) -> Iterator[Row]:
    """A true drop of exactly what is allowed is called worse."""
    margins = (0.0, 0.005, 0.02)
    yield from _drops(random, gates, statistics.worse_p, margins, "allowed", "<= 0.025")


def equivalent(random: np.random.Generator, gates: int) -> Iterator[Row]:
    """A true drop of exactly the margin is called equivalent."""
    margins = (0.005, 0.01, 0.03)
    yield from _drops(random, gates, statistics.equivalent_p, margins, "margin", "<= 0.05")


def _drops(
    random: np.random.Generator,
    gates: int,
    p_value: Callable[[Counts, Counts, int, float], NDArray[np.float64]],
    margins: Sequence[float],
    word: str,
    promised: str,
) -> Iterator[Row]:
    """How often a test says something of a true drop of exactly the margin."""
    for samples in SIZES:
        for margin in margins:
            for changing in CHANGING:
                lost, won = outcomes(random, gates, samples, margin + changing / 2, changing / 2)
                found = p_value(lost, won, samples, margin) <= statistics.ALPHA
                told = f"{word} {100 * margin:g} points, {100 * changing:g} % change beside"
                yield told, samples, promised, float(found.mean())


def changed(random: np.random.Generator, gates: int) -> Iterator[Row]:
    """Exactly the share of equal answers that is asked for is called too few."""
    for samples in SIZES:
        for share in (0.9, 0.99, 0.999):
            counts, number = np.unique(random.binomial(samples, share, gates), return_counts=True)
            alarms = [
                statistics.below_share_p(int(count), samples, share) <= statistics.ALPHA
                for count in counts
            ]
            yield (
                f"{100 * share:g} % agree",
                samples,
                "<= 0.05",
                float((number * alarms).sum()) / gates,
            )


def power(random: np.random.Generator, gates: int) -> Iterator[Row]:
    """With as many samples as the gate asks for, and with the drop that it says it finds."""
    for loss, gain, margin in ((0.03, 0.01, 0.0), (0.03, 0.01, 0.005), (0.05, 0.03, 0.01)):
        decides = statistics.is_worse(margin, statistics.ALPHA)
        samples = statistics.samples_needed(loss, gain, decides) or 0
        found = decides(*outcomes(random, gates, samples, loss, gain), samples)
        told = f"worse: {100 * loss:g} % lost, {100 * gain:g} % gained, {100 * margin:g} points"
        yield told, samples, ">= 0.8", float(found.mean())
    for loss, gain, margin in ((0.01, 0.01, 0.01), (0.002, 0.002, 0.005), (0.01, 0.005, 0.02)):
        decides = statistics.is_equivalent(margin, statistics.ALPHA)
        samples = statistics.samples_needed(loss, gain, decides) or 0
        found = decides(*outcomes(random, gates, samples, loss, gain), samples)
        told = (
            f"equivalent: {100 * loss:g} % lost, {100 * gain:g} % gained, {100 * margin:g} points"
        )
        yield told, samples, ">= 0.8", float(found.mean())
    for samples in SIZES[1:]:
        drop = statistics.min_detectable_drop(samples, 0.01) or 0.0
        lost, won = outcomes(random, gates, samples, 0.005 + drop, 0.005)
        found = statistics.worse_p(lost, won, samples) <= statistics.ALPHA
        told = f"the least drop that is found: {100 * drop:.2f} points"
        yield told, samples, ">= 0.8", float(found.mean())


def drops(random: np.random.Generator, gates: int) -> Iterator[Row]:
    """The true drop lies in the interval."""
    for samples in SIZES[1:]:
        for loss, gain in ((0.01, 0.01), (0.05, 0.05), (0.03, 0.01), (0.1, 0.05)):
            low, high = statistics.drop_interval(
                *outcomes(random, gates, samples, loss, gain), samples
            )
            held = (low <= loss - gain) & (loss - gain <= high)
            told = f"{100 * loss:g} % lost, {100 * gain:g} % gained"
            yield told, samples, "0.95", float(held.mean())


def figures(random: np.random.Generator, gates: int) -> Iterator[Row]:
    """The true change of a mean lies in the bootstrap's interval, normal and skewed errors."""
    for samples in (100, 360, 1_000):
        weights = bootstrap_weights(0, samples, statistics.RESAMPLES).astype(np.float64)
        shares = weights / weights.sum(axis=0)
        for name, draw, change in (
            ("normal", lambda shape: random.standard_normal(shape), 0.0),
            ("exponential", lambda shape: random.exponential(1.0, shape), 1.0),
        ):
            held = 0
            for _ in range(gates // 100):
                differences = draw((100, samples))
                replicates = differences @ shares
                for mean, one in zip(differences.mean(axis=1), replicates, strict=True):
                    low, high = statistics.bootstrap_interval(float(mean), np.zeros(len(one)), one)
                    held += low <= change <= high
            yield f"{name} errors, mean", samples, "0.95", held / (gates // 100 * 100)


if __name__ == "__main__":
    main()
