"""Trains a graph network.

The whole graph in every step, selection by validation loss, chance from (seed, epoch) alone.

The scheme is the one of Chen et al., *Simple and deep graph convolutional networks* (GCNII, 2020),
which Ben-Yair et al. cite: Adam, stop when the validation loss has not fallen for a while, answer
with the epoch where it was lowest.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from edgeq.errors import Interrupted
from edgeq.training.checkpoint import MODEL, OPTIMIZER, below, model_state, restore_tensors, under
from edgeq.training.graph import checkpoint as checkpoints
from edgeq.training.graph.quantization import observe_bounds, quantize_graph
from edgeq.training.graph.records import GraphEpoch, GraphResult
from edgeq.training.optimization import optimizers
from edgeq.training.run import divergence, run_folder
from edgeq.training.run.records import Progress, seconds_left
from edgeq.training.run.run_folder import BEST, LAST, SAVE_SECONDS
from edgeq.training.run.seeding import derived_seed
from edgeq.training.run.signals import going_on, stop_requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.data import GraphData
    from edgeq.models.pde_gcn import PdeGcn
    from edgeq.training.graph.recipe import GraphRecipe


@dataclass(slots=True)
class _State:
    """What a resumed run must know beyond weights and moments."""

    epoch: int = 0
    best_epoch: int = -1
    best_loss: float = float("inf")
    history: list[dict[str, Any]] = field(default_factory=list)


def train_graph(
    recipe: GraphRecipe,
    data: GraphData,
    folder: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> GraphResult:
    """Train a graph network of the zoo and leave its best checkpoint in ``folder``.

    Args:
        recipe: the run.
        data: its graph.
        folder: where checkpoints go.
        start: a checkpoint of the same network in FP32, whose weights a run begins with instead of
            random ones.
        resume: go on from ``last.safetensors`` if it is there.
        overwrite: replace an earlier run in ``folder``.
        threads: for torch; None leaves its setting. Bit-identical results need the same number.
        report: called after each epoch.

    Raises:
        Diverged: the loss is no number any more; the last checkpoint is from before.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        OutputError: ``folder`` holds another run, or cannot be written.
        UsageError: the network reads no graph, or the run to resume has another recipe.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return _Run(recipe, data, folder, report, start).run(resume=resume, overwrite=overwrite)


def features(data: GraphData) -> torch.Tensor:
    """What a network reads: normalised, sparse, float32 (nodes, features)."""
    return torch.from_numpy(data.normalized()).to_sparse().coalesce()


class _Run:
    def __init__(
        self,
        recipe: GraphRecipe,
        data: GraphData,
        folder: Path,
        report: Callable[[Progress], None],
        start: Path | None,
    ) -> None:
        self.recipe, self.data, self.folder, self.report = recipe, data, folder, report
        torch.manual_seed(recipe.seed)
        self.edges = torch.from_numpy(data.edges.copy())
        self.graph = checkpoints.build_gradient(recipe, self.edges, data.nodes)
        self.x, self.labels = features(data), torch.from_numpy(data.labels)
        network = checkpoints.build_network(
            replace(recipe, scheme=None), data.shape[1], len(data.classes)
        )
        if start is not None:
            restore_tensors(network, checkpoints.read(start).tensors, f"{recipe.model} FP32", start)
        self.network = network if recipe.scheme is None else quantize_graph(network, recipe.scheme)
        observe_bounds(self.network, self.x, self.graph)
        self.parameters = dict(self.network.named_parameters())
        self.optimizer = torch.optim.Adam(_groups(self.network, recipe))
        self.state = _State()
        self.best: dict[str, torch.Tensor] | None = None  # not yet written
        self.resumed_at = 0
        self.saved = self.started = time.monotonic()

    def run(self, *, resume: bool, overwrite: bool) -> GraphResult:
        last = self.folder / LAST
        if resume and last.exists():
            self._resume(last)
        else:
            run_folder.begin(self.folder, overwrite=overwrite)
            self._save()
        with stop_requests() as stop_requested:
            while not self._done:
                self._epoch()
                if stop_requested():
                    self._save()
                    raise Interrupted(
                        f"training stopped after epoch {self.state.epoch} of "
                        f"{self.recipe.epochs}; it is saved",
                        hint=going_on(resume=resume, overwrite=overwrite),
                    )
        self._save()
        return self._finish()

    @property
    def _done(self) -> bool:
        state = self.state
        return (
            state.epoch >= self.recipe.epochs
            or state.epoch - state.best_epoch > self.recipe.patience
        )

    def _epoch(self) -> None:
        state = self.state
        torch.manual_seed(derived_seed(self.recipe.seed, state.epoch))
        before = state.history[-1]["validation"] if state.history else None
        loss, accuracy = self._step()
        logits = self._answer()
        validation_loss, validation = self._score(logits, self.data.validation)
        test = self._score(logits, self.data.test)[1] if self.recipe.track_test else None
        state.history.append(
            asdict(GraphEpoch(state.epoch, loss, accuracy, validation_loss, validation, test))
        )
        if validation_loss < state.best_loss:
            state.best_loss, state.best_epoch = validation_loss, state.epoch
            self.best = under(
                MODEL, {name: tensor.clone() for name, tensor in model_state(self.network).items()}
            )
        state.epoch += 1
        self.report(self._progress(loss, accuracy, before))
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self._save()

    def _step(self) -> tuple[float, float]:
        self.network.train()
        where = torch.from_numpy(self.data.train)
        logits = self.network(self.x, self.graph)[where]
        loss = F.cross_entropy(logits, self.labels[where])
        self.optimizer.zero_grad()
        loss.backward()
        divergence.check_loss(
            loss.item(), self.network, f"epoch {self.state.epoch + 1} of {self.recipe.epochs}"
        )
        self.optimizer.step()
        return loss.item(), float((logits.detach().argmax(1) == self.labels[where]).float().mean())

    def _answer(self) -> torch.Tensor:
        self.network.eval()
        with torch.inference_mode():
            logits: torch.Tensor = self.network(self.x, self.graph)
        return logits

    def _score(self, logits: torch.Tensor, nodes: NDArray[np.int64]) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on these nodes."""
        where = torch.from_numpy(nodes)
        right = logits[where].argmax(1) == self.labels[where]
        return F.cross_entropy(logits[where], self.labels[where]).item(), float(
            right.float().mean()
        )

    def _progress(self, loss: float, accuracy: float, validation: float | None) -> Progress:
        done, epochs = self.state.epoch, self.recipe.epochs
        left_s = seconds_left(done, epochs, self.resumed_at, self.started)
        return Progress(done - 1, epochs, 1, 1, loss, accuracy, validation, None, left_s)

    def _finish(self) -> GraphResult:
        saved = checkpoints.read(self.folder / BEST)
        restore_tensors(self.network, saved.tensors, self.recipe.name, self.folder / BEST)
        answers = self._answer().argmax(1).numpy()[self.data.test]
        correct = int((answers == self.data.labels[self.data.test]).sum())
        history = tuple(GraphEpoch(**entry) for entry in self.state.history)
        tracked = [epoch.test for epoch in history if epoch.test is not None]
        seconds = time.monotonic() - self.started
        best = history[self.state.best_epoch]
        selected = max(tracked, default=None)
        total = len(self.data.test)
        result = GraphResult(
            self.recipe,
            self.folder,
            best.epoch,
            best.validation,
            correct,
            total,
            selected,
            seconds,
            history,
        )
        run_folder.write_summary(result)
        return result

    # -- saving and resuming -----------------------------------------------------------------------

    def _save(self) -> None:
        """The best epoch first: a run cut off between the two files finds that epoch again."""
        if self.best is not None:
            self._write(BEST, self.best, {})
            self.best = None
        moments = under(OPTIMIZER, optimizers.state(self.optimizer, self.parameters))
        self._write(LAST, under(MODEL, model_state(self.network)) | moments, asdict(self.state))
        self.saved = time.monotonic()

    def _write(self, name: str, tensors: dict[str, torch.Tensor], progress: dict[str, Any]) -> None:
        whole = {**tensors, checkpoints.EDGES: self.edges}
        saved = checkpoints.GraphCheckpoint(
            self.recipe, self.data.shape, self.data.classes, whole, progress
        )
        checkpoints.save(self.folder / name, saved)

    def _resume(self, path: Path) -> None:
        saved = checkpoints.read(path)
        run_folder.check_recipe(path, saved.recipe, self.recipe)
        restore_tensors(self.network, saved.tensors, self.recipe.name, path)
        optimizers.restore(self.optimizer, self.parameters, below(OPTIMIZER, saved.tensors))
        self.state = _State(**saved.progress)
        self.resumed_at = self.state.epoch


def _groups(network: PdeGcn, recipe: GraphRecipe) -> list[dict[str, Any]]:
    """The published groups: first and last layer, operators, clipping bounds.

    Only the first decays.
    """
    outer: list[torch.Tensor] = []
    operators: list[torch.Tensor] = []
    bounds: list[torch.Tensor] = []
    for name, parameter in network.named_parameters():
        group = (
            bounds if name.endswith(".alpha") else operators if name.startswith("steps.") else outer
        )
        group.append(parameter)
    groups = [
        {"params": outer, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        {"params": operators, "lr": recipe.lr_operators},
        {"params": bounds, "lr": recipe.lr_bounds},
    ]
    return [group for group in groups if group["params"]]
