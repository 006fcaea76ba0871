"""The training loop.

Seeded by (seed, epoch, step) alone, so that a run cut off anywhere goes on to the same bits.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeq.data import Split, batches
from edgeq.errors import ArtefactError, Interrupted, UsageError
from edgeq.training import checkpoint as checkpoints
from edgeq.training.checkpoint import below, under
from edgeq.training.distributed_stats import sync_statistics, synchronize
from edgeq.training.optimization import losses, optimizers
from edgeq.training.optimization.averaging import WeightAverage
from edgeq.training.optimization.consistency import Consistent
from edgeq.training.optimization.distillation import load_teacher
from edgeq.training.optimization.post_optimizer import post_optimizer_step
from edgeq.training.qat_transform import set_bits
from edgeq.training.run import divergence, run_folder
from edgeq.training.run.batching import Feed
from edgeq.training.run.compiling import compiled
from edgeq.training.run.processes import join
from edgeq.training.run.records import Epoch, Progress, TrainingResult, seconds_left
from edgeq.training.run.run_folder import BEST, LAST, RUN, SAVE_SECONDS
from edgeq.training.run.signals import Stopped, going_on, stop_requests
from edgeq.training.run.warm_start import settled, starting_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.batching import Batch
    from edgeq.training.run.processes import Processes

__all__ = ["BEST", "LAST", "RUN", "Epoch", "Progress", "TrainingResult", "evaluate", "train"]

_AVERAGE = "average/"


@dataclass(slots=True)
class _State:
    """What a resumed run must know beyond weights and momentum."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    best_epoch: int = -1
    best: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)


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

    The best checkpoint is the one of the highest validation accuracy among epochs at the target
    widths. Under ``accelerate launch`` each process has a part of every batch, the first one alone
    writes, and all return the same.

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
    """How many samples of a split a network in evaluation mode classifies right, on the device that it is on.

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


class _Run:
    report: Callable[[Progress], None] = staticmethod(lambda _: None)
    report_epoch: Callable[[Epoch], None] = staticmethod(lambda _: None)
    stop_requested: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(
        self, recipe: Recipe, source: DataSource, folder: Path, processes: Processes
    ) -> None:
        self.recipe, self.source, self.folder, self.processes = recipe, source, folder, processes
        self.steps = _steps(recipe, source, processes.count)
        self.model = starting_model(recipe, source)
        self.model.to(processes.device)
        # The layout is faster on every CPU and GPU that we tried; torch's overloads do not know it.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = optimizers.build(recipe, self.model)
        self.average = WeightAverage(self.model, recipe.ema) if recipe.ema else None
        self.teacher = load_teacher(recipe, source, processes.device)
        self.compute = self._computation()
        self.feed = Feed(recipe, source, processes)
        self.state = _State()
        self.resumed_at = 0  # steps done before this call
        self.saved = self.started = time.monotonic()

    def _computation(self) -> Callable[[torch.Tensor], Any]:
        if self.processes.count > 1:
            synchronize(self.model)
        whole = self.processes.prepare(
            Consistent(self.model) if self.recipe.consistency else self.model
        )
        return compiled(whole) if self.recipe.compiled else whole

    def run(self, *, resume: bool, overwrite: bool) -> TrainingResult:
        last = self.folder / LAST
        if resume and last.exists():
            self._resume(last)
        elif self.processes.rank == 0:
            run_folder.begin(self.folder, overwrite=overwrite)
            self._save()
        self.processes.wait()
        with stop_requests() as self.stop_requested:
            try:
                while self.state.epoch < self.recipe.epochs:
                    self._epoch()
                return self._finish()
            except Stopped:
                self._save()
                where = (
                    self._where(self.state.step)
                    if self.state.epoch < self.recipe.epochs
                    else "its test"
                )
                raise Interrupted(
                    f"training stopped in {where}; it is saved",
                    hint=going_on(resume=resume, overwrite=overwrite),
                ) from None

    def _epoch(self) -> None:
        state, recipe = self.state, self.recipe
        bits = recipe.bits(state.epoch)
        set_bits(self.model, bits)
        self.model.train()
        optimizers.set_rates(self.optimizer, recipe.schedule.multiplier(state.epoch, recipe.epochs))
        while state.step < self.steps:
            self._step(self.feed.batch(state.epoch, state.step))
            state.step += 1
            self.report(self._progress(bits))
            if any(self.processes.totals(self.stop_requested())):
                raise Stopped
            if time.monotonic() - self.saved > SAVE_SECONDS:
                self._save()
        self._end_epoch(bits)

    def _step(self, batch: Batch) -> None:
        # of dropout, and of weights that are tossed
        torch.manual_seed(self.feed.derived_seed(self.state.epoch, self.state.step))
        loss, logits = self._loss(batch)
        # makes the mean over processes that over samples
        share = len(batch.labels) * self.processes.count / batch.whole
        total = loss * share if share != 1 else loss
        if self.recipe.bound_penalty:
            total = total + self.recipe.bound_penalty * losses.penalty(self.model)
        self.optimizer.zero_grad()
        total.backward()
        right = int((logits.detach().argmax(1) == batch.labels).sum())
        loss_sum, correct = self.processes.totals(loss.item() * len(batch.labels), right)
        divergence.check_loss(loss_sum, self.model, self._where(self.state.step + 1))
        self.optimizer.step()
        post_optimizer_step(self.model)
        if self.average is not None:
            self.average.update(self.state.epoch * self.steps + self.state.step)
        self.state.loss_sum += loss_sum
        self.state.correct += int(correct)
        self.state.seen += batch.whole

    def _loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        half = self.recipe.precision == "bf16"
        with torch.autocast(self.processes.device.type, torch.bfloat16) if half else nullcontext():
            taught = None if self.teacher is None else self.teacher(batch.images)
            answer = self.compute(batch.images)
            logits, inconsistency = answer if self.recipe.consistency else (answer, None)
            return losses.loss_of(self.recipe, logits, batch.labels, taught, inconsistency), logits

    def _where(self, step: int) -> str:
        return f"epoch {self.state.epoch + 1} of {self.recipe.epochs}, step {step} of {self.steps}"

    def _end_epoch(self, bits: int | None) -> None:
        state = self.state
        divergence.check_bounds(self.model, self._where(self.steps))
        with self.average.in_place() if self.average is not None else nullcontext():
            self.model.eval()
            validation = self._evaluate(self.source.validation) / len(self.source.validation)
            epoch = Epoch(
                state.epoch,
                state.loss_sum / state.seen,
                state.correct / state.seen,
                validation,
                bits,
            )
            better = bits is None and validation >= state.best
            best = self._checkpoint(resumable=False) if better else None
        state.history.append(asdict(epoch))
        if better:
            state.best, state.best_epoch = validation, state.epoch
        state.epoch, state.step, state.loss_sum, state.correct, state.seen = (
            state.epoch + 1,
            0,
            0.0,
            0,
            0,
        )
        if best is not None and self.processes.rank == 0:
            checkpoints.save(self.folder / BEST, best)
        self._save()
        self.report_epoch(epoch)

    def _evaluate(self, split: Split, model: nn.Module | None = None) -> int:
        """Samples that a network classifies right, each process on its part."""
        where = self.processes.share(len(split))
        part = (
            split
            if self.processes.count == 1
            else Split(split.images[where], split.labels[where], split.ids[where])
        )
        # which all have to do at the same time
        stop = self.stop_requested if self.processes.count == 1 else lambda: False
        right = evaluate(
            self.model if model is None else model, part, self.source, stop_requested=stop
        )
        return int(self.processes.totals(right)[0])

    def _finish(self) -> TrainingResult:
        self.processes.wait()  # until the best checkpoint is there
        model = checkpoints.load_model(self.folder / BEST).module.to(self.processes.device)
        correct = self._evaluate(self.source.test, model)
        history = tuple(Epoch(**entry) for entry in self.state.history)
        result = TrainingResult(
            self.recipe,
            self.folder,
            self.state.best_epoch,
            self.state.best,
            correct,
            len(self.source.test),
            time.monotonic() - self.started,
            history,
        )
        if self.processes.rank == 0:
            run_folder.write_summary(result)
        return result

    def _progress(self, bits: int | None) -> Progress:
        state, recipe = self.state, self.recipe
        done, total = state.epoch * self.steps + state.step, recipe.epochs * self.steps
        return Progress(
            state.epoch,
            recipe.epochs,
            state.step,
            self.steps,
            state.loss_sum / state.seen,
            state.correct / state.seen,
            state.history[-1]["validation"] if state.history else None,
            bits,
            seconds_left(done, total, self.resumed_at, self.started),
        )

    # -- saving and resuming -----------------------------------------------------------------------

    def _checkpoint(self, *, resumable: bool) -> checkpoints.Checkpoint:
        """The network now, a copy; with everything that a run needs to go on, if asked for."""
        tensors = under(
            checkpoints.MODEL,
            {name: tensor.clone() for name, tensor in checkpoints.model_state(self.model).items()},
        )
        if resumable:
            tensors |= under(
                checkpoints.OPTIMIZER, optimizers.state(self.optimizer, self.parameters)
            )
            tensors |= under(_AVERAGE, self.average.tensors if self.average else {})
        progress = asdict(self.state) if resumable else {}
        return checkpoints.Checkpoint(
            self.recipe, self.source.shape, self.source.classes, tensors, progress
        )

    def _save(self) -> None:
        if self.processes.rank == 0:
            divergence.check_finite(self.model, self._where(self.state.step))
            checkpoints.save(self.folder / LAST, self._checkpoint(resumable=True))
        self.saved = time.monotonic()

    def _resume(self, path: Path) -> None:
        saved = checkpoints.read(path)
        run_folder.check_recipe(path, saved.recipe, self.recipe)
        if not saved.progress:
            raise ArtefactError(
                f"{path} cannot be gone on from: it is no running state",
                hint="name the folder of a training run",
            )
        if (saved.input_shape, saved.classes) != (self.source.shape, self.source.classes):
            raise UsageError(
                f"{path} was trained on other data than {self.source.name} is now",
                hint="resume with the same data",
            )
        checkpoints.restore(self.model, saved, path)
        optimizers.restore(
            self.optimizer, self.parameters, below(checkpoints.OPTIMIZER, saved.tensors)
        )
        if self.average is not None:
            self.average.restore(below(_AVERAGE, saved.tensors))
        self.state = _State(**saved.progress)
        self.resumed_at = self.state.epoch * self.steps + self.state.step


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
