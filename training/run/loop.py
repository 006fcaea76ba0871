"""The training loop.

Seeded by (seed, epoch, step) alone, so that a run cut off anywhere goes on to the same bits.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgeq.data import batches
from edgeq.errors import ArtefactError, UsageError
from edgeq.training import checkpoint as checkpoints
from edgeq.training.checkpoint import below, under
from edgeq.training.distributed_stats import sync_statistics, synchronize
from edgeq.training.objectives import is_classification, labelled, objective_of
from edgeq.training.optimization import losses, optimizers
from edgeq.training.optimization.averaging import WeightAverage
from edgeq.training.optimization.consistency import Consistent
from edgeq.training.optimization.distillation import load_teacher
from edgeq.training.optimization.post_optimizer import post_optimizer_step
from edgeq.training.qat_transform import set_bits
from edgeq.training.run import divergence
from edgeq.training.run.base import BaseRun, RunState
from edgeq.training.run.batching import Feed
from edgeq.training.run.compiling import compiled
from edgeq.training.run.processes import join
from edgeq.training.run.records import Epoch, Progress, TrainingResult
from edgeq.training.run.run_folder import BEST, LAST, RUN
from edgeq.training.run.scoring import meter_of, score
from edgeq.training.run.signals import Stopped
from edgeq.training.run.warm_start import settled, starting_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.data import DataSource, Split
    from edgeq.results import Score
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.batching import Batch
    from edgeq.training.run.processes import Processes

__all__ = ["BEST", "LAST", "RUN", "Epoch", "Progress", "TrainingResult", "evaluate", "train"]

_AVERAGE = "average/"


@dataclass(slots=True)
class _ImageState(RunState):
    """Sums are of the present epoch."""

    loss_sum: float = 0.0
    correct: float = 0
    seen: int = 0
    best: float = -1.0

    @property
    def means(self) -> tuple[float, float]:
        """Loss and accuracy of the epoch so far."""
        return self.loss_sum / self.seen, self.correct / self.seen


def train(
    recipe: Recipe,
    source: DataSource,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    cpu: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
    report_epoch: Callable[[Epoch], None] = lambda _: None,
) -> TrainingResult:
    """Train a network of the zoo and leave its best checkpoint in ``folder``.

    The best checkpoint is the one of the highest validation accuracy, or the best score of another
    task, among epochs at the target widths. Under ``accelerate launch`` each process has a part of
    every batch, the first one alone writes, and all return the same.

    Args:
        recipe: the run.
        source: its data.
        folder: where checkpoints go.
        resume: go on from ``last.safetensors`` if it is there.
        overwrite: replace an earlier run in ``folder``.
        threads: for torch; None leaves its setting. Bit-identical results need the same number.
        cpu: leave an accelerator alone that is there.
        report: called after each step, in the first process.
        report_epoch: called after each epoch, in the first process.

    Raises:
        Diverged: the loss, a weight or a bound is no number any more; the last checkpoint is from
            before.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        OutputError: ``folder`` holds another run, or cannot be written.
        UsageError: recipe and data do not go together.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    recipe = settled(recipe)
    processes = join(recipe, cpu=cpu)
    run = _Run(recipe, source, folder, processes)
    if processes.rank == 0:
        run.report, run.report_epoch = report, report_epoch
    with sync_statistics(processes.count):
        return run.run(resume=resume, overwrite=overwrite)


def evaluate(
    model: nn.Module,
    split: Split,
    source: DataSource,
    batch_size: int = 256,
    *,
    stop_requested: Callable[[], bool] = lambda: False,
) -> int:
    """How many samples of a split a network classifies right, on the device that it is on.

    Raises:
        Stopped: that was asked for between two batches.
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    right = 0
    with torch.inference_mode():
        for images, labels in batches(split, source, batch_size):
            if stop_requested():
                raise Stopped
            right += int(
                (model(torch.from_numpy(images).to(device)).argmax(1).cpu().numpy() == labels).sum()
            )
    return right


class _Run(BaseRun["Recipe", "DataSource", _ImageState, TrainingResult]):
    report_epoch: Callable[[Epoch], None] = staticmethod(lambda _: None)

    def __init__(
        self, recipe: Recipe, source: DataSource, folder: Path, processes: Processes
    ) -> None:
        self.recipe, self.data, self.folder, self.processes = recipe, source, folder, processes
        self.objective = objective_of(recipe, source)
        targets = self.objective.targets(labelled(source.train, source))
        # a score that cannot be computed is said before training, not after an epoch of it
        self.meter = None if is_classification(source) else meter_of(source)
        self.state, self.steps = _ImageState(), _steps(recipe, source, processes.count)
        self.model = starting_model(recipe, source)
        self.model.to(processes.device)
        # The layout is faster on every CPU and GPU that we tried; torch's overloads do not know it.
        move: Any = self.model.to
        move(memory_format=torch.channels_last)
        self.optimizer = optimizers.build(recipe, self.model)
        super().__init__()
        self.average = WeightAverage(self.model, recipe.ema) if recipe.ema else None
        self.teacher = load_teacher(recipe, source, processes.device)
        self.compute = self._computation()
        self.feed = Feed(recipe, source, targets, processes)

    def _computation(self) -> Callable[[torch.Tensor], Any]:
        if self.processes.count > 1:
            synchronize(self.model)
        whole = self.processes.prepare(
            Consistent(self.model) if self.recipe.consistency else self.model
        )
        return compiled(whole) if self.recipe.compiled else whole

    @property
    def _done(self) -> bool:
        return self.state.epoch >= self.recipe.epochs

    def _stopped_at(self) -> str:
        return f"in {'its test' if self._done else self._where(self.state.step)}"

    def _epoch(self) -> None:
        state, recipe = self.state, self.recipe
        bits = recipe.bits(state.epoch)
        set_bits(self.model, bits)
        self.model.train()
        optimizers.set_rates(self.optimizer, recipe.schedule.multiplier(state.epoch, recipe.epochs))
        while state.step < self.steps:
            self._step(self.feed.batch(state.epoch, state.step))
            state.step += 1
            self.report(self._progress(*self._means(), bits))
            self._pause()
        self._end_epoch(bits)

    def _step(self, batch: Batch) -> None:
        # of dropout, and of weights that are tossed
        torch.manual_seed(self.feed.derived_seed(self.state.epoch, self.state.step))
        loss, answer = self._loss(batch)
        # makes the mean over processes that over samples
        share = len(batch.labels) * self.processes.count / batch.whole
        total = loss * share if share != 1 else loss
        if self.recipe.bound_penalty:
            total = total + self.recipe.bound_penalty * losses.penalty(self.model)
        self.optimizer.zero_grad()
        total.backward()
        right = self.objective.right(answer, batch.labels) or 0
        loss_sum, correct = self.processes.totals(loss.item() * len(batch.labels), right)
        divergence.check_loss(loss_sum, self.model, self._where(self.state.step + 1))
        self.optimizer.step()
        post_optimizer_step(self.model)
        if self.average is not None:
            self.average.update(self.state.epoch * self.steps + self.state.step)
        self.state.loss_sum += loss_sum
        self.state.correct += correct
        self.state.seen += batch.whole

    def _loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        half = self.recipe.precision == "bf16"
        with torch.autocast(self.processes.device.type, torch.bfloat16) if half else nullcontext():
            taught = None if self.teacher is None else self.teacher(batch.images)
            both = self.compute(batch.images)
            answer, inconsistency = both if self.recipe.consistency else (both, None)
            loss = self.objective.loss(answer, batch.labels, batch.images)
            return losses.with_terms(self.recipe, loss, answer, taught, inconsistency), answer

    def _means(self) -> tuple[float, float | None]:
        """Loss and accuracy of the epoch so far; None where right answers are not counted."""
        loss, accuracy = self.state.means
        return loss, accuracy if self.objective.counted else None

    def _end_epoch(self, bits: int | None) -> None:
        state = self.state
        divergence.check_bounds(self.model, self._where(self.steps))
        with self.average.in_place() if self.average is not None else nullcontext():
            self.model.eval()
            validation = self._validation()
            epoch = Epoch(state.epoch, *self._means(), validation, bits)
            if bits is None and (state.best_epoch < 0 or self._is_best(validation)):
                self.best = self._weights()
                state.best, state.best_epoch = validation, state.epoch
        state.history.append(asdict(epoch))
        state.epoch, state.step = state.epoch + 1, 0
        state.loss_sum, state.correct, state.seen = 0.0, 0, 0
        self._save()
        self.report_epoch(epoch)

    def _validation(self) -> float:
        part = self.data.validation
        if self.meter is None:
            return self._evaluate(part) / len(part)
        return self._score(part, self.model).value

    def _is_best(self, validation: float) -> bool:
        better = self.meter is None or self.meter.higher_is_better
        return validation >= self.state.best if better else validation <= self.state.best

    def _score(self, split: Split, model: nn.Module) -> Score:
        """Each process looks at all samples: a score is no sum over parts of them."""
        stop = self.stop_requested if self.processes.count == 1 else lambda: False
        return score(model, split, self.data, stop_requested=stop)

    def _evaluate(self, split: Split, model: nn.Module | None = None) -> int:
        """Samples that a network classifies right, each process on its part."""
        where = self.processes.share(len(split))
        part = split if self.processes.count == 1 else split.take(np.arange(len(split))[where])
        # which all have to do at the same time
        stop = self.stop_requested if self.processes.count == 1 else lambda: False
        right = evaluate(
            self.model if model is None else model, part, self.data, stop_requested=stop
        )
        return int(self.processes.totals(right)[0])

    def _finish(self) -> TrainingResult:
        self.processes.wait()  # until the best checkpoint is there
        model = checkpoints.load_model(self.folder / BEST).module.to(self.processes.device)
        classified = self.meter is None
        return TrainingResult(
            self.recipe,
            self.folder,
            self.state.best_epoch,
            self.state.best,
            self._evaluate(self.data.test, model) if classified else 0,
            len(self.data.test) if classified else 0,
            time.monotonic() - self.started,
            tuple(Epoch(**entry) for entry in self.state.history),
            None if classified else self._score(self.data.test, model),
        )

    # -- saving and resuming -----------------------------------------------------------------------

    def _tensors(self) -> dict[str, torch.Tensor]:
        return super()._tensors() | under(_AVERAGE, self.average.tensors if self.average else {})

    def _restore(self, saved: checkpoints.AnyCheckpoint, path: Path) -> None:
        super()._restore(saved, path)
        if self.average is not None:
            self.average.restore(below(_AVERAGE, saved.tensors))

    def _read(self, path: Path) -> checkpoints.Checkpoint:
        return checkpoints.read(path)

    def _checkpoint(
        self, tensors: dict[str, torch.Tensor], progress: dict[str, Any]
    ) -> checkpoints.Checkpoint:
        shape, classes = self.data.shape, self.data.classes
        fed = self.data.preprocessing.to_dict()
        return checkpoints.Checkpoint(self.recipe, shape, classes, tensors, progress, fed)


def _steps(recipe: Recipe, source: DataSource, processes: int) -> int:
    """Steps of an epoch.

    A last batch that would leave BatchNorm one sample, or a process none, is left out.
    """
    whole, rest = divmod(len(source.train), recipe.batch_size)
    steps = whole + (rest >= max(2, processes))
    if (
        steps < 1
        or recipe.batch_size < processes
        or not len(source.validation)
        or not len(source.test)
    ):
        raise UsageError(
            f"{source.name} has too few samples for batches of {recipe.batch_size}",
            hint="use more data or a smaller --batch-size",
        )
    shapes = {part.images.shape[1:] for part in (source.train, source.validation, source.test)}
    if len(shapes) != 1:
        raise ArtefactError(
            f"{source.name} has images of the shapes {', '.join(map(str, sorted(shapes)))}",
            hint="give all splits images of one shape",
        )
    return steps
