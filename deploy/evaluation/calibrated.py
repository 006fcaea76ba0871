"""What a calibration came to: accuracy on held-back samples beside float, and what to do next."""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.checks import check, left_out, readable
from edgeq.deploy.evaluation.chain import judging_stage
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.pipeline.calibrate import calibrate
from edgeq.errors import EdgeqError, UsageError
from edgeq.files import temporary_folder
from edgeq.formats.artefact import resolve
from edgeq.results import require_all
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeq.data import DataSource, Split
    from edgeq.deploy.pipeline.calibrate import Calibrated, Job
    from edgeq.device import Device
    from edgeq.results import Comparison, Stage

HELD_BACK = 200
_WORSE = 0.005  # of the share that is right: half a point
_HALF_DB = 3.0  # of the noise
_MIN_MAX = "minmax"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A calibrated file beside the float network that it was made of.

    Attributes:
        job: what was calibrated.
        path: the file.
        done: what was calibrated, and what each layer costs.
        held_back: both on samples that calibration has not seen; None where they cannot be judged.
        not_judged: why not, in words; empty where they were.
        collapsed: where something is lost, what another choice does better on samples held back,
            or on those of the calibration where there are none, in words; empty for nothing.
        offered: that choice, as flags of the command.
        doubted: whether the float network already answers these data hardly better than guessing.
    """

    job: Job
    path: Path
    done: Calibrated
    held_back: Comparison | None
    not_judged: str
    collapsed: str
    offered: tuple[str, ...] = ()
    doubted: bool = False

    @property
    def lost(self) -> float:
        """The share of samples held back that only the float network is right on, on balance."""
        stages = self.stages
        if stages is None or stages[0].accuracy is None or stages[1].accuracy is None:
            return 0.0
        return stages[0].accuracy.fraction - stages[1].accuracy.fraction

    @property
    def stages(self) -> tuple[Stage, Stage] | None:
        """The float network and the calibrated one; None where they were not judged."""
        if self.held_back is None:
            return None
        first, second = self.held_back.stages
        return first, second

    @property
    def _unfit(self) -> bool:
        """Whether the data have labels, and the float network could not be judged by them."""
        stages = self.stages
        if stages is None or self.job.source.test.labels is None:
            return False
        return stages[0].accuracy is None and stages[0].score is None

    @property
    def next_command(self) -> tuple[str, ...]:
        """What to type next, word by word."""
        data = self.job.given or self.job.source.name
        network = self.job.network or (str(self.job.path),)
        if self.doubted or self._unfit:  # the float file and its data come first
            return "edgeq", "compare", *network, "--data", data
        if self.lost > _WORSE:
            return "edgeq", "compare", *network, str(self.path), "--data", data
        return "edgeq", "export", str(self.path), "-o", "exported"

    def content(self, trials: Trials | None, device: Device | None) -> dict[str, object]:
        """All of it for JSON, with what was tried on other samples, and what it is for."""
        job, done = self.job, self.done
        return {
            "path": str(self.path),
            "size_bytes": done.size_bytes,
            "data": job.source.name,
            "samples": done.samples,
            "split": done.split,
            "scheme": str(job.config.scheme),
            "observer": job.config.found_by,
            "weight_method": job.config.weight_method,
            "methods": list(job.config.methods),
            "per_channel": job.config.per_channel,
            "pair_safe": job.config.pair_safe,
            "device": device,
            "held_back": self.held_back,
            "not_judged": self.not_judged,
            "collapsed": self.collapsed,
            "layers": done.layers,
            "told": done.told,
            "trials": trials,
        }


@dataclass(frozen=True, slots=True)
class Trials:
    """The same calibration on several sets of samples.

    Attributes:
        figure: what was measured of each: ``accuracy``, or the figure of the task.
        values: of each set, in the order of the seeds, from 0.
        float_value: of the float network.
        percent: whether they are fractions that people read in per cent.
        samples: the held-back samples that all were judged on.
    """

    figure: str
    values: tuple[float, ...]
    float_value: float
    percent: bool
    samples: int

    @property
    def mean(self) -> float:
        """Of all sets."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation between sets, of the sample; 0 for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        factor, unit = (100, " %") if self.percent else (1, "")
        mean, apart, low, high, real = (
            f"{factor * value:.2f}{unit}"
            for value in (
                self.mean,
                self.deviation,
                min(self.values),
                max(self.values),
                self.float_value,
            )
        )
        return (
            f"{counted(len(self.values), 'set')} of samples: {self.figure} {mean} ± "
            f"{apart}, from {low} to {high}; float {real}, on "
            f"{counted(self.samples, 'sample')} held back"
        )


def check_judging(job: Job, held_back: int, trials: int) -> str:
    """Refuse, before any work, what could not be judged after it.

    Args:
        job: the calibration.
        held_back: how many held-back samples are used, at most; 0 judges nothing.
        trials: how many further sets of samples are judged.

    Returns:
        Which held-back samples are broken and left out, in words; empty for none.

    Raises:
        UsageError: the held-back samples differ in size, or see :func:`trials_of`.
        ArtefactError: some of them are broken.
    """
    if trials:
        _trials(job, trials, held_back)
    if not held_back or job.outputs:
        return ""
    part = _held_back(job, held_back)
    check(part, job.source.preprocessing)
    asked = _spread(job.free(), held_back)
    kept = asked[np.isin(job.source.test.ids[asked], part.ids)]
    return left_out(job.source.test, asked, kept)


def trials_of(
    job: Job,
    count: int,
    held_back: int = HELD_BACK,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stage: Callable[[str], None] = lambda _what: None,
) -> Trials:
    """Calibrate on several sets of samples, drawn with the seeds from 0, and judge each.

    Args:
        job: the calibration.
        count: how many sets.
        held_back: how many samples that no set has judge them, at most.
        progress: called with the work done and the work in all, for each set.
        stage: called with which set begins.

    Raises:
        UsageError: all sets would be the same, no sample is left to judge them, or nothing is
            known that they could be judged by.
    """
    jobs, part = _trials(job, count, held_back)
    figures: list[tuple[str, float, float, bool]] = []
    with temporary_folder() as folder:
        for each in jobs:
            file = folder / f"{each.seed}.onnx"
            stage(f"set {len(figures) + 1} of {count}")
            calibrate(each, file, progress=progress)
            figures.append(_figures(*_compared(each, file, part).stages))
    name, real, _, percent = figures[0]
    return Trials(name, tuple(mine for _, _, mine, _ in figures), real, percent, len(part))


def _trials(job: Job, count: int, held_back: int) -> tuple[list[Job], Split]:
    """The calibrations, and the samples that judge them; raises as :func:`trials_of`."""
    available = len(getattr(job.source, job.split))
    if job.samples >= available:
        raise UsageError(
            f"{job.source.name} has {counted(available, 'sample')}, so every set would be "
            f"all of them",
            hint=f"choose fewer than {available} with --samples",
        )
    jobs = [replace(job, seed=seed) for seed in range(count)]
    part = _held_back(job, held_back, [each.asked for each in jobs])
    if not len(part):
        raise UsageError(
            "no sample is held back to judge the sets by",
            hint="choose --held-back above 0 and fewer --samples",
        )
    return jobs, part


def _figures(first: Stage, second: Stage) -> tuple[str, float, float, bool]:
    if first.score is not None and second.score is not None:
        return first.score.name, first.score.value, second.score.value, first.score.percent
    if first.accuracy is not None and second.accuracy is not None:
        return "accuracy", first.accuracy.fraction, second.accuracy.fraction, True
    if second.agreement is not None:
        return "agreement with float", 1.0, second.agreement, True
    raise UsageError(
        "there is nothing to judge sets of samples by", hint="give labels, or a task's data"
    )


def judged(
    job: Job,
    path: Path,
    done: Calibrated,
    samples: int = HELD_BACK,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Outcome:
    """Judge a calibrated file beside the float network.

    Args:
        job: what was calibrated.
        path: the calibrated file.
        done: what was said of it.
        samples: how many held-back samples are used, at most; 0 judges nothing.
        progress: called with the samples done and the samples in all.
    """
    if samples < 1:
        return Outcome(job, path, done, None, "no samples were asked for", "")
    found, why = None, ""
    part = _held_back(job, samples)
    if job.outputs:
        why = "the network was cut, so the float file answers something else"
    elif not len(part):
        why = f"no sample of {job.source.name} is held back: all were calibrated on"
    else:
        try:
            found = _compared(job, path, part, progress)
        except EdgeqError as error:
            why = str(error)
    outcome = Outcome(job, path, done, found, why, "")
    if job.outputs:
        return outcome
    with suppress(EdgeqError):
        if job.config.found_by != _MIN_MAX and (told := _beside_min_max(job, path, samples)):
            return replace(outcome, collapsed=told, offered=("--observer", _MIN_MAX))
        if outcome.lost > _WORSE:
            told, flags = _better(job, path, samples)
            return replace(outcome, collapsed=told, offered=flags)
    return outcome


def _held_back(job: Job, samples: int, chosen: Sequence[np.ndarray] = ()) -> Split:
    """Test samples that calibration has not seen, evenly spread; broken ones may be left out."""
    test, where = job.source.test, _spread(job.free(chosen), samples)
    return test.take(readable(test, where) if job.skip_broken else where)


def _spread(of: np.ndarray, count: int) -> np.ndarray:
    if not len(of):
        return of
    return of[np.linspace(0, len(of) - 1, min(count, len(of))).astype(np.int64)]


def _compared(
    job: Job,
    path: Path,
    part: Split,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    source: DataSource = replace(job.source, test=part)
    given = resolve(job.path)
    stages = [judging_stage(file) for file in (given, path)]
    found = compare(stages, source, tensors=False, progress=progress).comparison
    require_all(found.failures)
    return found


def _advising(job: Job, samples: int) -> tuple[Split, str]:
    """What further choices are judged on, and what that is in words.

    Methods have seen the samples of the calibration, and look better there than they are.
    """
    if len(part := _held_back(job, samples)):
        return part, "samples held back"
    seen: Split = getattr(job.source, job.split)
    where = "samples of the calibration, as none is held back,"
    return seen.take(_spread(job.chosen, samples)), where


def _beside_min_max(job: Job, path: Path, samples: int) -> str:
    """Whether plain min-max ranges are right more often."""
    seen, where = _advising(job, samples)
    first, mine = _compared(job, path, seen).stages
    if first.accuracy is None or mine.accuracy is None:
        return ""
    allowed = int(_WORSE * mine.accuracy.total)
    if first.accuracy.correct - mine.accuracy.correct <= allowed:
        return ""  # it is not worth another calibration
    with temporary_folder() as folder:
        other = folder / "minmax.onnx"
        calibrate(replace(job, config=replace(job.config, observer=_MIN_MAX)), other)
        (_, plain) = _compared(job, other, seen).stages
    if plain.accuracy is None or plain.accuracy.correct - mine.accuracy.correct <= allowed:
        return ""
    return (
        f"{job.config.found_by} is right on {100 * mine.accuracy.fraction:.1f} % of "
        f"{mine.accuracy.total} {where}, and min-max on "
        f"{100 * plain.accuracy.fraction:.1f} %\n  hint: --observer minmax"
    )


def _better(job: Job, path: Path, samples: int) -> tuple[str, tuple[str, ...]]:
    """The first choice that halves the noise: in words, and in flags.

    Noise tells more than accuracy: few answers change, and all outputs have noise.
    """
    tried: dict[tuple[str, ...], dict[str, Any]] = {}
    if not job.config.methods:
        tried["--method", "bias-correction"] = {"methods": ("bias-correction",)}
    if job.config.boundary_bits == 8:
        tried["--boundary-bits", "16"] = {"boundary_bits": 16}
        if job.config.act_bits == 8:
            both = "--act-bits", "16", "--boundary-bits", "16"
            tried[both] = {"act_bits": 16, "boundary_bits": 16}
    seen, where = _advising(job, samples)
    mine = _sqnr_db(job, path, seen)
    with temporary_folder() as folder:
        for flags, changes in tried.items():
            other = folder / "other.onnx"
            changed = replace(job, config=replace(job.config, **changes))
            calibrate(changed, other, overwrite=True)
            found = _sqnr_db(job, other, seen)
            if found >= mine + _HALF_DB:
                named = " ".join(flags)
                return (
                    f"on {len(seen)} {where} its output is {mine:.1f} dB from "
                    f"float, and {found:.1f} dB with {named}\n  hint: {named}"
                ), flags
    return "", ()


def _sqnr_db(job: Job, path: Path, part: Split) -> float:
    return _compared(job, path, part).hops[0].output.sqnr_db
