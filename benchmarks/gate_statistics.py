"""How often a gate errs: false alarms, coverage and power over simulated gates.

    python -m benchmarks.gate_statistics [--gates 10000] [--sizes 50 360] [--only mAP]

Each line is one setting: so many samples, of which some are lost and gained in truth. `promised` is
what the gate states, `found` the share of the simulated gates.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.config import Levels
from edgeq.deploy.gate.judges.fall import Fall, Side, fall_between
from edgeq.metrics.resampling import bootstrap_weights
from edgeq.results import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Row = tuple[str, int, str, float]
    Counts = NDArray[np.int64]
    Reals = NDArray[np.float64]

ROW = "| {} | {:,} | {} | {:.4f} |"
LEVELS = Levels()
SIZES = (50, 200, 360, 1_000, 10_000)
CHANGING = (0.0, 0.005, 0.02, 0.1)


def main() -> None:
    """Simulate, and print a table for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 360, 1_000])
    parser.add_argument("--only", default="", help="of the other figures, those with this word")
    options = parser.parse_args()
    gates: int = options.gates
    random = np.random.default_rng(0)
    others = figures(random, gates, options.sizes, options.only)
    every = (
        ("worse: false alarms", worse(random, gates)),
        ("equivalent: false alarms", equivalent(random, gates)),
        ("changed: false alarms", changed(random, gates)),
        ("power", power(random, gates)),
        ("intervals of a drop: coverage", drops(random, gates)),
        ("other figures, by paired resamples", others),
    )
    for title, rows in every[-1:] if options.only else every:
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


@dataclass(frozen=True, slots=True)
class Population:
    """Samples of which a figure is taken before and now.

    Attributes:
        score: what the figure is like.
        before: what is kept of each sample, (samples, ...).
        now: likewise.
        figure: of what is kept, (gate, ...), and of weights, (gate, resamples), their figures.
    """

    score: Score
    before: Reals
    now: Reals
    figure: Callable[[Reals, Reals], Reals]

    def fall(self, chosen: Counts | slice, weights: Reals) -> Fall:
        """Of some samples."""
        plain = np.ones((len(weights), 1))
        before, now = (
            Side(
                float(self.figure(kept[chosen], plain)[0]), drawn=self.figure(kept[chosen], weights)
            )
            for kept in (self.before, self.now)
        )
        return fall_between(self.score, before, now, len(weights))


def mean(kept: Reals, weights: Reals) -> Reals:
    """Of a figure that is a mean over samples: MAE, pixel accuracy, a loss."""
    return np.asarray(kept @ weights / weights.sum(axis=0))


def root(kept: Reals, weights: Reals) -> Reals:
    """RMSE, of squared errors."""
    return np.sqrt(mean(kept, weights))


def iou(kept: Reals, weights: Reals) -> Reals:
    """mIoU, of pixels that are right, of the class, and said to be: (samples, 3, classes)."""
    right, true, said = np.einsum("sqc,sr->qcr", kept, weights)
    union = true + said - right
    return np.asarray((right / np.maximum(union, 1.0)).mean(axis=0))


def auc(kept: Reals, weights: Reals) -> Reals:
    """ROC-AUC, of scores and labels, (samples, 2), no two scores equal."""
    order = np.argsort(kept[:, 0])
    positive, drawn = kept[order, 1:], weights[order]
    below = np.cumsum(drawn * (1 - positive), axis=0)
    pairs = (drawn * positive).sum(axis=0) * below[-1]
    with np.errstate(invalid="ignore"):  # of samples without one of the two kinds
        return np.asarray((drawn * positive * below).sum(axis=0) / pairs)


def precision(kept: Reals, weights: Reals) -> Reals:
    """Mean average precision, of a score and a label for each class, (samples, 2, classes)."""
    found = []
    for scores, positive in kept.transpose(2, 1, 0):
        order = np.argsort(-scores)
        drawn = weights[order]
        right = drawn * positive[order][:, None]
        hits = np.cumsum(right, axis=0)
        with np.errstate(invalid="ignore"):
            found.append((right * hits / np.cumsum(drawn, axis=0)).sum(axis=0) / hits[-1])
    return np.asarray(np.mean(found, axis=0))


def f1(kept: Reals, weights: Reals) -> Reals:
    """F1 at a fixed threshold, of scores and labels, (samples, 2)."""
    said, true = kept[:, 0] > 0.5, kept[:, 1] > 0
    counts = 2.0 * (said & true) @ weights, (1.0 * said + true) @ weights
    return np.asarray(counts[0] / np.maximum(counts[1], 1.0))


def best(kept: Reals, weights: Reals) -> Reals:
    """F1 at the threshold where it is best, likewise."""
    order = np.argsort(-kept[:, 0])
    drawn, hits = weights[order], np.cumsum(weights[order] * kept[order, 1:], axis=0)
    return np.asarray((2 * hits / (np.cumsum(drawn, axis=0) + hits[-1])).max(axis=0))


def balanced(kept: Reals, weights: Reals) -> Reals:
    """Balanced accuracy, likewise."""
    said, true = kept[:, 0] > 0.5, kept[:, 1] > 0
    with np.errstate(invalid="ignore"):
        found = [((said == true) & one) @ weights / (one @ weights) for one in (true, ~true)]
    return np.asarray(sum(found) / 2)


def populations(random: np.random.Generator) -> Iterator[tuple[str, Population]]:
    """Falls of several figures, some with few samples that change much."""
    many, share = 100_000, Score("share", 0.0, 0)
    plain = Score("error", 0.0, 0, higher_is_better=False, percent=False)
    normal, rare = random.standard_normal((2, many)), random.exponential(1.0, (2, many))
    before = 0.5 + 0.1 * normal[0]
    for name, changes in (
        ("normal changes", 0.05 * normal[1]),
        ("exponential losses", 0.05 * rare[1]),
        ("exponential gains", 0.1 - 0.05 * rare[1]),
    ):
        yield f"mean, {name}", Population(share, before, before - changes - 0.01, mean)
    error = np.abs(normal[0])
    yield "MAE, in per cent", Population(plain, error, error + 0.03 + 0.1 * normal[1], mean)
    moved = normal[0] + 0.2 * normal[1] + 0.1
    yield "RMSE, in per cent", Population(plain, normal[0] ** 2, moved**2, root)
    yield from _of_scores(random, share)
    pixels = 64 * random.dirichlet((5.0, 2.0, 0.5), many)
    kept = []
    for worse in (0.0, 0.02):
        found = pixels * np.clip(0.8 - worse + 0.1 * (normal[0] + worse * rare[1])[:, None], 0, 1)
        rest = (pixels - found).sum(axis=1, keepdims=True)
        kept.append(np.stack([found, pixels, found + rest * pixels / 64], axis=1))
    yield "mIoU of three classes", Population(share, kept[0], kept[1], iou)


def _of_scores(random: np.random.Generator, like: Score) -> Iterator[tuple[str, Population]]:
    """Of scores that part positive samples from negative ones."""
    many = 100_000
    for part, apart, moved in ((0.3, 1.0, 0.3), (0.3, 2.5, 0.3), (0.1, 2.5, 0.3), (0.5, 2.5, 0.1)):
        labels = (random.random(many) < part).astype(float)
        scores = random.standard_normal(many) + apart * labels
        then, now = (
            np.stack([each, labels], axis=1)
            for each in (scores, scores + moved * random.standard_normal(many))
        )
        reached = float(auc(then, np.ones((many, 1)))[0])
        told = f"of {reached:.2f}, {100 * part:g} % positive, scores off by {moved:g}"
        for name, figure in (("ROC-AUC", auc), ("F1", f1)):
            yield f"{name}, {told}", Population(like, then, now, figure)
        if (part, apart) == (0.3, 1.0):
            yield f"best F1, {told}", Population(like, then, now, best)
            yield f"balanced accuracy, {told}", Population(like, then, now, balanced)
    found = []
    labels = (random.random((many, 3)) < 0.3).astype(float)
    for noise in (0.0, 0.3):
        scores = random.standard_normal((many, 3)) * noise
        if not found:
            scores = random.standard_normal((many, 3)) + 2 * labels
        else:
            scores += found[0][:, 0]
        found.append(np.stack([scores, labels], axis=1))
    yield "mAP of three classes", Population(like, found[0], found[1], precision)


def figures(
    random: np.random.Generator, gates: int, sizes: Sequence[int], only: str
) -> Iterator[Row]:
    """The true fall of a figure is called worse than itself, or nearer than itself; or is held."""
    every = np.ones((100_000, 1))
    for name, population in populations(random):
        if only not in name:
            continue
        truth = population.fall(slice(None), every).amount
        for samples in sizes:
            weights = bootstrap_weights(samples, statistics.RESAMPLES).astype(np.float64)
            counts = np.zeros(4)
            for _ in range(gates):
                chosen = random.integers(0, len(every), samples)
                fall = population.fall(chosen, weights)
                if not np.isfinite(fall.amount):
                    continue  # of samples without one of two classes: the gate refuses it
                counts[0] += fall.worse_than(truth, LEVELS) is True
                counts[1] += fall.equivalent_within(abs(truth), LEVELS) is True
                if fall.interval is not None:
                    low, high = fall.interval
                    counts[2:] += 1, low <= truth <= high
            told = counts[2] / gates
            yield f"{name}: called worse", samples, "<= 0.05", float(counts[0] / gates)
            yield f"{name}: called equivalent", samples, "<= 0.05", float(counts[1] / gates)
            yield f"{name}: interval told", samples, "", float(told)
            if counts[2]:
                held = float(counts[3] / counts[2])
                yield f"{name}: held, of those told", samples, "0.95", held


if __name__ == "__main__":
    main()
