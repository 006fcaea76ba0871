"""A precision search from a float network and data to a scheme and the quantised file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from edgeq.calibration.search.greedy import GRAINS, greedy
from edgeq.calibration.search.keep_float import keep_float
from edgeq.calibration.search.path import follow, path
from edgeq.calibration.search.precision import EIGHT, FLOAT, Precision
from edgeq.calibration.search.sensitivity import sensitivities
from edgeq.calibration.search.study import Figures, Goal, Study
from edgeq.calibration.search.tpe import require_optuna, tpe
from edgeq.data.batching import fed
from edgeq.data.splitting import set_aside
from edgeq.deploy.search.costs import Cost
from edgeq.deploy.search.judge import NetworkJudge, judged_parts
from edgeq.deploy.search.memory import Remembered
from edgeq.deploy.search.result import LayerChoice, SearchResult, amount, as_toml, scheme_path
from edgeq.errors import OutputError, UnknownName, UsageError
from edgeq.files import check_output, keeping, sha256_of, write_files
from edgeq.formats.artefact import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.calibration.search.sensitivity import Sensitivity
    from edgeq.calibration.search.study import Assignment, Trial
    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.search.costs import Budget, CostName
    from edgeq.device import Device
    from edgeq.results import Score

Strategy = Literal["optuna", "path", "network", "layer", "neuron", "keep-float"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
PRECISIONS = (Precision(4, 8), EIGHT, FLOAT)
_BATCH = 32
_LOOKING = 0.5  # of the time, at most, for sensitivities


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What is searched for, and how.

    Attributes:
        max_drop: the loss to stay within: points of a share, or in the unit of the score.
        budget: the cost to stay within; neither of the two for sensitivities alone.
        cost: what is minimised beside ``max_drop``.
        target: where latency is measured, or cycles are estimated.
        precisions: those that a layer can have.
        strategy: what is tried next: one of ``STRATEGIES``.
        trials: how many are tried, at most; sensitivities do not count.
        seconds: how long the search takes, at most; half of it goes to sensitivities.
        seed: of Optuna's questions.
        samples: for calibration, at most.
        eval_samples: that trials are judged on, at most.
        outputs: the tensors at which the network is cut; its own outputs by default.
        resume: go on with the trials that are kept beside the output.

    Raises:
        UsageError: a loss and a budget, or values that cannot be.
        UnknownName: a strategy that there is not.
    """

    max_drop: float | None = None
    budget: Budget | None = None
    cost: CostName = "bytes"
    target: str = ""
    precisions: tuple[Precision, ...] = PRECISIONS
    strategy: str = "optuna"
    trials: int = 60
    seconds: float = float("inf")
    seed: int = 0
    samples: int = 500
    eval_samples: int = 500
    outputs: tuple[str, ...] = ()
    resume: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UnknownName("strategy", self.strategy, STRATEGIES)
        if self.max_drop is not None and self.budget is not None:
            raise UsageError(
                "a loss and a budget are two searches", hint="give --max-drop or --budget"
            )
        if self.max_drop is not None and not self.max_drop >= 0:
            raise UsageError(f"a loss of {self.max_drop:g} cannot be", hint="give 0 or more")
        if self.budget is not None and self.strategy not in ("optuna", "path"):
            raise UsageError(
                f"the strategy {self.strategy} needs a loss to stay within",
                hint="give --max-drop instead of --budget, or --strategy path",
            )
        if not self.precisions:
            raise UsageError("there are no precisions to choose from", hint="name w8a8 at least")
        if self.trials < 1 or not self.seconds > 0:
            raise UsageError("there is nothing to try", hint="give 1 trial and 1 second or more")

    @property
    def searches(self) -> bool:
        """Whether more than sensitivities are asked for."""
        return self.max_drop is not None or self.budget is not None

    @property
    def cost_name(self) -> CostName:
        """What trials cost."""
        return self.cost if self.budget is None else self.budget.cost


def search(
    source_path: Path,
    source: DataSource,
    output: Path | None,
    config: CalibrationConfig,
    options: SearchOptions,
    *,
    task: AskedTask | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    tell: Callable[[str], None] = lambda _line: None,
) -> SearchResult:
    """Find the precision of each layer.

    Args:
        source_path: a float ONNX file, or the checkpoint or folder of an FP32 training.
        source: the data. Calibrated on the training split, searched on the validation split,
            reported on the test split; see :func:`edgeq.deploy.search.judge.judged_parts`.
        output: the QDQ file to write; None for none. The scheme (``.scheme.toml``)
            and the trials (``.trials.json``) are written beside it.
        config: how ranges are found and weights quantised.
        options: what is searched for.
        task: by which answers are judged; None for that of the data.
        overwrite: replace ``output``.
        progress: called with the trials done and the trials in all.
        tell: called with what is found on the way.

    Raises:
        ArtefactError: the network is broken, quantised already, or does not fit the data.
        MissingDependency: Optuna is asked for and not installed.
        UsageError: nothing can be searched for so; no samples, or no labels for a loss.
        OutputError: ``output`` exists, or cannot be written.
    """
    if output is None and options.resume:
        raise UsageError("there are no trials to go on with", hint="name the output of that search")
    if output is not None:
        if output.suffix != ".onnx":
            raise OutputError(f"{output} does not end in .onnx", hint="name an .onnx file")
        for written in (output, scheme_path(output)):
            check_output(written, overwrite=overwrite)
    run = _Run(source_path, source, output, config, options, task, tell)
    if run.kept is None:
        return run.result(progress, overwrite=overwrite)
    same = "the same command" if options.resume else "the same command with --resume"
    with keeping(run.kept, f"{same} goes on from there", run.evaluate.kept):
        return run.result(progress, overwrite=overwrite)


class _Run:
    def __init__(
        self,
        source_path: Path,
        source: DataSource,
        output: Path | None,
        config: CalibrationConfig,
        options: SearchOptions,
        task: AskedTask | None,
        tell: Callable[[str], None],
    ) -> None:
        from edgeq.calibration.search.network import SearchNetwork
        from edgeq.deploy.pipeline.calibrate import float_model
        from edgeq.deploy.pipeline.calibration_recipe import CalibrationRecipe
        from edgeq.formats.subgraph import cut

        if options.searches and options.strategy == "optuna":
            require_optuna()
        self.started = time.monotonic()
        self.options, self.output, self.source, self.tell = options, output, source, tell
        self.cost = Cost(options.cost_name, options.target)
        chosen, rest = _calibrated_on(source, options.samples)
        searched, self.reported = judged_parts(rest, options.eval_samples)
        if searched.labels is None and options.max_drop is not None:
            raise UsageError(
                f"{source.name} has no labels, so no loss can be judged",
                hint="search with --budget, which goes by the SQNR of the outputs",
            )
        found = resolve(source_path)
        self.network = SearchNetwork(
            cut(float_model(found), options.outputs),
            lambda: (batch for batch, _ in fed(chosen, source, _BATCH)),
            config,
        )
        self.calibration = CalibrationRecipe(config, options.samples).without_widths()
        self.aside = 0 if len(source.train) else len(chosen)
        self.task = task
        self.judge = NetworkJudge(source, searched, self.network.runs(None), task)
        self.searched_on = len(searched)
        about = {
            "network": sha256_of(found),
            "data": source.name,
            "preprocessing": source.preprocessing.to_dict(),
            "config": repr(config),
            "cost": [self.cost.name, self.cost.target],
            "samples": [options.samples, options.eval_samples],
            "outputs": list(options.outputs),
            "task": repr(task),
            **({"set_aside": self.aside} if self.aside else {}),
        }
        self.kept = None if output is None else output.with_suffix(".trials.json")
        self.evaluate = Remembered(self._figures, self.kept, about, resume=options.resume)

    def _figures(self, precisions: Assignment, costed: bool) -> Figures:
        model = self.network.quantized(precisions, alone=not costed)
        judged = self.judge(self.network.runs(model))
        cost = self.cost.of(self.network.layers, precisions, model) if costed else float("nan")
        return Figures(judged.points, judged.sqnr_db, cost)

    def result(self, progress: Callable[[int, int], None], *, overwrite: bool) -> SearchResult:
        judged = self.judge(self.network.runs(None))
        better = judged.score.higher_is_better
        self.tell(f"float: {judged.score.name} {judged.points:.2f} on {self.searched_on} samples")
        float_trial = Figures(judged.points, np.inf, np.nan)
        known = self._sensitivities(judged.points, better, progress)
        study: Study | None = None
        if self.options.searches:
            study = self._study(float_trial, better, progress)
            self._try(study, known)
        best = None if study is None else study.best()
        scores = None
        if best is not None and self.output is not None:
            scores = self._write(best, self.output, overwrite=overwrite)
        return SearchResult(
            self.output if scores else None,
            self.options.strategy,
            self.cost.name,
            self._limit(study),
            self.searched_on,
            float_trial,
            None if study is None else study.trials[0],
            best,
            self._chosen(best, known),
            () if study is None else tuple(study.trials),
            known,
            self.network.layers,
            self.evaluate.reused,
            time.monotonic() - self.started,
            scores[0] if scores else None,
            scores[1] if scores else None,
            self.options.max_drop,
            None if study is None else study.nearest(),
            better,
            self.calibration,
        )

    def _sensitivities(
        self, float_points: float, better: bool, progress: Callable[[int, int], None]
    ) -> tuple[Sensitivity, ...]:
        if self.options.strategy in GRAINS and self.options.searches:
            return ()
        share = _LOOKING if self.options.searches else 1.0
        end = self.started + share * self.options.seconds
        found = sensitivities(
            self.network.layers,
            self.options.precisions,
            lambda precisions: self.evaluate(precisions, costed=False),
            float_score=float_points,
            higher_is_better=better,
            open_still=lambda: time.monotonic() < end,
            progress=progress,
        )
        asked = sum(not each.is_float for each in self.options.precisions)
        if (missing := asked * len(self.network.layers) - len(found)) > 0:
            self.tell(f"no time for {missing} of the sensitivities: give more with --time-budget")
        return found

    def _study(
        self, float_trial: Figures, better: bool, progress: Callable[[int, int], None]
    ) -> Study:
        options = self.options
        layers = self.network.layers
        start = dict.fromkeys((layer.name for layer in layers), _start(options))
        reference = self.evaluate(start)
        if options.budget is not None:
            goal = Goal("budget", options.budget.limit(reference.cost), better)
        else:
            loss = options.max_drop or 0.0
            goal = Goal("max-drop", float_trial.score - (loss if better else -loss), better)
        seconds = self.started + options.seconds - time.monotonic()
        study = Study(
            layers,
            self.evaluate,
            goal,
            trials=options.trials,
            seconds=max(seconds, 1e-3),
            told=lambda trial: progress(trial.number + 1, options.trials),
        )
        study.attempt(start, "start")
        return study

    def _try(self, study: Study, known: tuple[Sensitivity, ...]) -> None:
        options, strategy = self.options, self.options.strategy
        if strategy in GRAINS:
            greedy(study, GRAINS[GRAINS.index(strategy)])
        elif strategy == "keep-float":
            keep_float(study, _start(options), known)
        else:
            follow(study, path(study.layers, options.precisions, known, self.cost.of_layer))
            if strategy == "optuna":
                tpe(study, options.precisions, seed=options.seed)

    def _write(self, best: Trial, output: Path, *, overwrite: bool) -> tuple[Score, Score]:
        """Write the file, and judge it and the float network on samples not seen so far."""
        from edgeq.exporters.onnx.dialects import to_dialect
        from edgeq.formats.dialect import CANONICAL
        from edgeq.formats.onnx_io import serialize
        from edgeq.formats.preprocessing_note import note, set_aside_note

        model = self.network.quantized(best.precisions)
        model.metadata_props.update(note(self.source.preprocessing.to_dict()))
        if self.aside:
            whole = len(self.source.test)
            model.metadata_props.update(set_aside_note(self.source.name, whole, self.aside))
        model.metadata_props["precision_search"] = (
            f"{self.options.strategy}; {self._limit(None)}; {best.number + 1} tried"
        )
        content = serialize(to_dialect(model, CANONICAL))
        scheme = as_toml(self._chosen(best, ()), self.calibration).encode()
        write_files({output: content, scheme_path(output): scheme}, overwrite=overwrite)
        judge = NetworkJudge(self.source, self.reported, self.network.runs(None), self.task)
        return judge(self.network.runs(None)).score, judge(self.network.runs(model)).score

    def _chosen(
        self, best: Trial | None, known: tuple[Sensitivity, ...]
    ) -> tuple[LayerChoice, ...]:
        if best is None:
            return ()
        noise = {(each.layer, each.precision): each.sqnr_db for each in known}
        return tuple(
            LayerChoice(name, each, noise.get((name, each.name)))
            for name, each in best.precisions.items()
        )

    def _limit(self, study: Study | None) -> str:
        options = self.options
        if options.max_drop is not None:
            return f"a loss of at most {options.max_drop:g}"
        if options.budget is None:
            return "none"
        if study is None:
            return f"a budget of {options.budget.cost}"
        return f"at most {amount(self.cost.name, study.goal.limit)}"


def _calibrated_on(source: DataSource, samples: int) -> tuple[Split, DataSource]:
    """The samples that ``edgeq calibrate`` takes too, and the data without those it sets aside."""
    from edgeq.deploy.pipeline.calibrate import spread

    if len(source.train):
        return source.train.take(spread(len(source.train), samples)), source
    whole = len(source.test)
    _ = spread(whole, samples)  # which refuses what leaves none
    aside = set_aside(whole, samples)
    left = np.setdiff1d(np.arange(whole), aside)
    return source.test.take(aside), replace(source, test=source.test.take(left))


def on_device(options: SearchOptions, device: Device) -> SearchOptions:
    """The same on the target that stands for a device, where it is measured and none is named."""
    measured = options.cost_name in ("latency", "cycles")
    return replace(options, target=options.target or (device.target if measured else ""))


def usual(device: Device | None) -> tuple[Precision, ...]:
    """The precisions to choose from: those that gain something on a device, and float."""
    if device is None:
        return PRECISIONS
    weights = [Precision(bits, 8) for bits in device.weight_bits]
    wide = [Precision(8, bits) for bits in device.act_bits if bits > 8]
    return (*weights, *wide, FLOAT)


def _start(options: SearchOptions) -> Precision:
    """What a search begins with: 8 bits, or the widest of the precisions that is not float."""
    integers = [each for each in options.precisions if not each.is_float] or [EIGHT]
    return EIGHT if EIGHT in integers else max(integers, key=lambda each: each.work)
