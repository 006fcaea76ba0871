"""What training runs on images and on a graph do alike: begin, save, go on, stop, sum up."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgeq.errors import ArtefactError, Interrupted, UsageError
from edgeq.files import check_output, in_use
from edgeq.training import checkpoint as checkpoints
from edgeq.training.checkpoint import MODEL, OPTIMIZER, below, under
from edgeq.training.optimization import optimizers
from edgeq.training.run import divergence, run_folder
from edgeq.training.run.records import Progress, RunResult, seconds_left
from edgeq.training.run.run_folder import BEST, LAST, SAVE_SECONDS
from edgeq.training.run.signals import Stopped, going_on, stop_requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from torch import nn

    from edgeq.data import DataSource, GraphData
    from edgeq.training.checkpoint import AnyCheckpoint
    from edgeq.training.recipes.any_recipe import AnyRecipe
    from edgeq.training.run.processes import Processes


@dataclass(slots=True)
class RunState:
    """What a resumed run must know beyond weights and the optimiser's tensors."""

    epoch: int = 0
    step: int = 0
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


RecipeT = TypeVar("RecipeT", bound="AnyRecipe")
DataT = TypeVar("DataT", bound="DataSource | GraphData")
StateT = TypeVar("StateT", bound=RunState)
ResultT = TypeVar("ResultT", bound=RunResult)


class BaseRun(ABC, Generic[RecipeT, DataT, StateT, ResultT]):
    """A training run; its kind says what an epoch is, and how its checkpoints are read and made.

    Attributes:
        model: the network, on its device.
        steps: in an epoch.
        best: the tensors of the best epoch, until they are written.
        resumed_at: steps that were done before this call.
    """

    recipe: RecipeT
    data: DataT
    folder: Path
    processes: Processes
    state: StateT
    model: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int = 1
    best: dict[str, torch.Tensor] | None = None
    resumed_at: int = 0
    report: Callable[[Progress], None] = staticmethod(lambda _: None)
    stop_requested: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(self) -> None:
        self.saved = self.started = time.monotonic()

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What the optimiser moves, by name."""
        return dict(self.model.named_parameters())

    @property
    @abstractmethod
    def _done(self) -> bool: ...

    @abstractmethod
    def _epoch(self) -> None: ...

    @abstractmethod
    def _finish(self) -> ResultT: ...

    @abstractmethod
    def _stopped_at(self) -> str: ...

    @abstractmethod
    def _read(self, path: Path) -> AnyCheckpoint: ...

    @abstractmethod
    def _checkpoint(
        self, tensors: dict[str, torch.Tensor], progress: dict[str, Any]
    ) -> AnyCheckpoint: ...

    def run(self, *, resume: bool, overwrite: bool) -> ResultT:
        """Train, test the best network, and leave checkpoints and a summary in the folder."""
        check_output(self.folder / LAST, overwrite=True)
        alone = in_use(self.folder, "training") if self.processes.rank == 0 else nullcontext()
        with alone:
            return self._run(resume=resume, overwrite=overwrite)

    def _run(self, *, resume: bool, overwrite: bool) -> ResultT:
        last = self.folder / LAST
        with stop_requests() as self.stop_requested:
            if resume and last.exists():
                self._resume(last)
            elif self.processes.rank == 0:
                run_folder.begin(self.folder, overwrite=overwrite)
                self._save()
            self.processes.wait()
            try:
                while not self._done:
                    self._epoch()
                result = self._finish()
            except Stopped:
                self._save()
                raise Interrupted(
                    f"training stopped {self._stopped_at()}; it is saved",
                    hint=going_on(resume=resume, overwrite=overwrite),
                ) from None
            except KeyboardInterrupt:  # a second one
                raise Interrupted(
                    f"training stopped at once; what was saved last is kept in {last}",
                    hint=going_on(resume=resume, overwrite=overwrite),
                ) from None
        if self.processes.rank == 0:
            run_folder.write_summary(result)
        return result

    def _pause(self) -> None:
        """Between two steps: stop if that is asked for, and save once a minute."""
        if any(self.processes.totals(self.stop_requested())):
            raise Stopped
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self._save()

    def _progress(self, loss: float, accuracy: float | None, bits: int | None = None) -> Progress:
        state, epochs = self.state, self.recipe.epochs
        validation = state.history[-1]["validation"] if state.history else None
        left_s = seconds_left(self._steps_done, epochs * self.steps, self.resumed_at, self.started)
        at = (state.epoch, epochs, state.step, self.steps)
        return Progress(*at, loss, accuracy, validation, bits, left_s)

    @property
    def _steps_done(self) -> int:
        return self.state.epoch * self.steps + self.state.step

    def _where(self, step: int) -> str:
        epoch = f"epoch {self.state.epoch + 1} of {self.recipe.epochs}"
        return epoch if self.steps == 1 else f"{epoch}, step {step} of {self.steps}"

    # -- saving and resuming -----------------------------------------------------------------------

    def _weights(self) -> dict[str, torch.Tensor]:
        """A copy of the network's tensors, by their names in a checkpoint."""
        tensors = checkpoints.model_state(self.model)
        return under(MODEL, {name: tensor.clone() for name, tensor in tensors.items()})

    def _tensors(self) -> dict[str, torch.Tensor]:
        """All that a resumed run goes on from."""
        moments = under(OPTIMIZER, optimizers.state(self.optimizer, self.parameters))
        return under(MODEL, checkpoints.model_state(self.model)) | moments

    def _restore(self, saved: AnyCheckpoint, path: Path) -> None:
        """The inverse of :meth:`_tensors`."""
        checkpoints.restore(self.model, saved, path)
        optimizers.restore(self.optimizer, self.parameters, below(OPTIMIZER, saved.tensors))

    def _save(self) -> None:
        """The best epoch first: a run cut off between the two files finds that epoch again."""
        if self.processes.rank == 0:
            divergence.check_finite(self.model, self._where(self.state.step))
            if self.best is not None:
                checkpoints.save(self.folder / BEST, self._checkpoint(self.best, {}))
            last = self._checkpoint(self._tensors(), asdict(self.state))
            checkpoints.save(self.folder / LAST, last)
        self.best, self.saved = None, time.monotonic()

    def _resume(self, path: Path) -> None:
        saved = self._read(path)
        run_folder.check_recipe(path, saved.recipe, self.recipe)
        if not saved.progress:
            raise ArtefactError(
                f"{path} cannot be gone on from: it is no running state",
                hint="name the folder of a training run",
            )
        if (saved.input_shape, saved.classes) != (self.data.shape, self.data.classes):
            raise UsageError(
                f"{path} was trained on other data than {self.data.name} is now",
                hint="resume with the same data",
            )
        self._restore(saved, path)
        self.state = type(self.state)(**saved.progress)
        self.resumed_at = self._steps_done
