"""The training loop: seeded by (seed, epoch, step) alone, so that a run cut off anywhere goes on to the same bits."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgeq.data import batches, crop_flip, normalize
from edgeq.errors import Interrupted, OutputError, UsageError
from edgeq.files import check_output, write_json
from edgeq.training import checkpoint as checkpoints
from edgeq.training.insertion import set_bits
from edgeq.training.stopping import stop_requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.data import DataSource, Split
    from edgeq.training.recipe import Recipe

LAST, BEST, RUN = "last.safetensors", "best.safetensors", "run.json"
SAVE_SECONDS = 60.0  # a killed run loses at most this much


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, after each step.

    Attributes:
        epoch: from 0.
        epochs: in all.
        step: steps done in this epoch.
        steps: in an epoch.
        loss: mean cross-entropy of the epoch so far.
        accuracy: on training samples of the epoch so far, a fraction.
        validation: accuracy on the validation split after the last whole epoch, None before.
        bits: the annealing width, None at the target widths.
        eta_s: seconds left at the present speed.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    validation: float | None
    bits: int | None
    eta_s: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of a run's history; accuracies are fractions."""

    epoch: int
    loss: float
    accuracy: float
    validation: float
    bits: int | None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished run.

    Attributes:
        recipe: what was run.
        folder: holds ``best.safetensors``, ``last.safetensors`` and ``run.json``.
        best_epoch: the epoch of the best checkpoint.
        validation: its accuracy on the validation split, a fraction.
        test_correct: test samples it classifies right; the test split is used here and nowhere before.
        test_total: test samples.
        seconds: of this call.
        history: one record an epoch.
    """

    recipe: Recipe
    folder: Path
    best_epoch: int
    validation: float
    test_correct: int
    test_total: int
    seconds: float
    history: tuple[Epoch, ...]


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
    report: Callable[[Progress], None] = lambda _: None,
) -> TrainingResult:
    """Train a network of the zoo and leave its best checkpoint in ``folder``.

    The best checkpoint is the one of the highest validation accuracy among epochs at the target widths.

    Args:
        recipe: the run.
        source: its data.
        folder: where checkpoints go.
        resume: go on from ``last.safetensors`` if it is there.
        overwrite: replace an earlier run in ``folder``.
        threads: for torch; None leaves its setting. Bit-identical results need the same number.
        report: called after each step.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        OutputError: ``folder`` holds another run, or cannot be written.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return _Run(recipe, source, folder, report).run(resume=resume, overwrite=overwrite)


def evaluate(model: nn.Module, split: Split, source: DataSource, batch_size: int = 256) -> int:
    """How many samples of a split a network in evaluation mode classifies right."""
    with torch.inference_mode():
        return sum(
            int((model(torch.from_numpy(images)).argmax(1).numpy() == labels).sum())
            for images, labels in batches(split, source, batch_size)
        )


class _Run:
    def __init__(self, recipe: Recipe, source: DataSource, folder: Path, report: Callable[[Progress], None]) -> None:
        self.recipe, self.source, self.folder, self.report = recipe, source, folder, report
        self.steps = math.ceil(len(source.train) / recipe.batch_size)
        if len(source.train) % recipe.batch_size == 1:  # BatchNorm cannot normalise one sample
            self.steps -= 1
        if self.steps < 1 or not len(source.validation) or not len(source.test):
            raise UsageError(
                f"{source.name} has too few samples for batches of {recipe.batch_size}", mend="use more data or a smaller --batch-size"
            )
        torch.manual_seed(recipe.seed)
        self.model = checkpoints.build_model(recipe, source.shape, len(source.classes))
        self.model.to(memory_format=torch.channels_last)  # faster on every CPU and GPU that we tried
        self.compute: Callable[[torch.Tensor], torch.Tensor] = torch.compile(self.model) if recipe.compiled else self.model
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = torch.optim.SGD(self.parameters.values(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
        self.state = _State()
        self.resumed_at = 0  # steps done before this call
        self.saved = self.started = time.monotonic()

    def run(self, *, resume: bool, overwrite: bool) -> TrainingResult:
        last = self.folder / LAST
        if resume and last.exists():
            self._resume(last)
        elif (last.exists() or (self.folder / BEST).exists()) and not overwrite:
            raise OutputError(
                f"{self.folder} holds a run already", mend="add --resume to go on, --overwrite to start anew, or choose another -o"
            )
        else:
            check_output(last, overwrite=True)
            (self.folder / BEST).unlink(missing_ok=True)
            self._save()
        with stop_requests() as stop_requested:
            while self.state.epoch < self.recipe.epochs:
                self._epoch(stop_requested)
        return self._finish()

    def _epoch(self, stop_requested: Callable[[], bool]) -> None:
        state, recipe = self.state, self.recipe
        bits = recipe.bits(state.epoch)
        set_bits(self.model, bits)
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * (1 + math.cos(math.pi * state.epoch / recipe.epochs)) / 2
        while state.step < self.steps:
            self._step(*self._batch(state.epoch, state.step))
            state.step += 1
            self.report(self._progress(bits))
            if stop_requested():
                self._save()
                raise Interrupted(
                    f"training stopped in epoch {state.epoch + 1} of {recipe.epochs}, step {state.step} of {self.steps}; it is saved",
                    mend="the same command with --resume goes on from there",
                )
            if time.monotonic() - self.saved > SAVE_SECONDS:
                self._save()
        self._end_epoch(bits)

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            logits = self.compute(images.to(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.state.loss_sum += loss.item() * len(labels)
        self.state.correct += int((logits.detach().argmax(1) == labels).sum())
        self.state.seen += len(labels)

    def _batch(self, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        recipe, train_split = self.recipe, self.source.train
        order = np.random.default_rng([recipe.seed, epoch]).permutation(len(train_split))
        where = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        images = train_split.images[where]
        if self.source.augmentation == "crop-flip":
            images = crop_flip(images, np.random.default_rng([recipe.seed, epoch, step]))
        return torch.from_numpy(normalize(images, self.source)), torch.from_numpy(train_split.labels[where])

    def _end_epoch(self, bits: int | None) -> None:
        state = self.state
        self.model.eval()
        validation = evaluate(self.model, self.source.validation, self.source) / len(self.source.validation)
        state.history.append(asdict(Epoch(state.epoch, state.loss_sum / state.seen, state.correct / state.seen, validation, bits)))
        better = bits is None and validation >= state.best
        if better:
            state.best, state.best_epoch = validation, state.epoch
        state.epoch, state.step, state.loss_sum, state.correct, state.seen = state.epoch + 1, 0, 0.0, 0, 0
        if better:
            checkpoints.save(self.folder / BEST, self._checkpoint(checkpoints.MODEL))
        self._save()

    def _finish(self) -> TrainingResult:
        model = checkpoints.load_model(self.folder / BEST).module
        correct = evaluate(model, self.source.test, self.source)
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
        summary = {"recipe": self.recipe.to_dict(), "best_epoch": result.best_epoch, "validation": result.validation}
        summary |= {"test_correct": correct, "test_total": result.test_total, "history": self.state.history}
        write_json(self.folder / RUN, summary, overwrite=True)
        return result

    def _progress(self, bits: int | None) -> Progress:
        state, recipe = self.state, self.recipe
        done = state.epoch * self.steps + state.step
        first = self.resumed_at
        speed = (done - first) / max(time.monotonic() - self.started, 1e-9)
        return Progress(
            state.epoch,
            recipe.epochs,
            state.step,
            self.steps,
            state.loss_sum / state.seen,
            state.correct / state.seen,
            state.history[-1]["validation"] if state.history else None,
            bits,
            (recipe.epochs * self.steps - done) / speed,
        )

    # -- saving and resuming -----------------------------------------------------------------------------------------

    def _checkpoint(self, *prefixes: str) -> checkpoints.Checkpoint:
        tensors = {checkpoints.MODEL + name: tensor for name, tensor in checkpoints.model_state(self.model).items()}
        if checkpoints.OPTIMIZER in prefixes:
            for name, parameter in self.parameters.items():
                if (momentum := self.optimizer.state[parameter].get("momentum_buffer")) is not None:
                    tensors[checkpoints.OPTIMIZER + name] = momentum
        progress = asdict(self.state) if checkpoints.OPTIMIZER in prefixes else {}
        return checkpoints.Checkpoint(self.recipe, self.source.shape, self.source.classes, tensors, progress)

    def _save(self) -> None:
        checkpoints.save(self.folder / LAST, self._checkpoint(checkpoints.MODEL, checkpoints.OPTIMIZER))
        self.saved = time.monotonic()

    def _resume(self, path: Path) -> None:
        saved = checkpoints.read(path)
        if saved.recipe != self.recipe:
            odd = next(name for name, value in self.recipe.to_dict().items() if saved.recipe.to_dict()[name] != value)
            raise UsageError(
                f"{path} was trained with another {odd}: {saved.recipe.to_dict()[odd]!r}, not {self.recipe.to_dict()[odd]!r}",
                mend="resume with the same flags, or choose another -o",
            )
        checkpoints.restore(self.model, saved, path)
        for name, parameter in self.parameters.items():
            if checkpoints.OPTIMIZER + name in saved.tensors:
                self.optimizer.state[parameter]["momentum_buffer"] = saved.tensors[checkpoints.OPTIMIZER + name]
        self.state = _State(**saved.progress)
        self.resumed_at = self.state.epoch * self.steps + self.state.step
