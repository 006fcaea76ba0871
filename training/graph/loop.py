"""Trains a graph network.

The whole graph in every step, selection by validation loss, chance from (seed, epoch) alone.

The scheme is the one of Chen et al., *Simple and deep graph convolutional networks* (GCNII, 2020),
which Ben-Yair et al. cite: Adam, stop when the validation loss has not fallen for a while, answer
with the epoch where it was lowest.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from edgeq.training.checkpoint import restore, restore_tensors
from edgeq.training.graph import checkpoint as checkpoints
from edgeq.training.graph.quantization import observe_bounds, quantize_graph
from edgeq.training.graph.records import GraphEpoch, GraphResult
from edgeq.training.run import divergence
from edgeq.training.run.base import BaseRun, RunState
from edgeq.training.run.processes import Processes
from edgeq.training.run.run_folder import BEST
from edgeq.training.run.seeding import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.data import GraphData
    from edgeq.training.graph.recipe import GraphRecipe
    from edgeq.training.run.records import Progress


@dataclass(slots=True)
class _GraphState(RunState):
    best_loss: float = float("inf")


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


class _Run(BaseRun["GraphRecipe", "GraphData", _GraphState, GraphResult]):
    def __init__(
        self,
        recipe: GraphRecipe,
        data: GraphData,
        folder: Path,
        report: Callable[[Progress], None],
        start: Path | None,
    ) -> None:
        self.recipe, self.data, self.folder, self.report = recipe, data, folder, report
        self.processes, self.state = Processes(torch.device("cpu")), _GraphState()
        torch.manual_seed(recipe.seed)
        self.edges = torch.from_numpy(data.edges.copy())
        self.graph = checkpoints.build_gradient(recipe, self.edges, data.nodes)
        self.x, self.labels = features(data), torch.from_numpy(data.labels)
        network = checkpoints.build_network(
            replace(recipe, scheme=None), data.shape[1], len(data.classes), self.edges
        )
        if start is not None:
            restore_tensors(network, checkpoints.read(start).tensors, f"{recipe.model} FP32", start)
        self.model = network if recipe.scheme is None else quantize_graph(network, recipe.scheme)
        observe_bounds(self.model, self.x, self.graph)
        self.optimizer = torch.optim.Adam(_groups(self.model, recipe))
        super().__init__()

    @property
    def _done(self) -> bool:
        state = self.state
        return (
            state.epoch >= self.recipe.epochs
            or state.epoch - state.best_epoch > self.recipe.patience
        )

    def _stopped_at(self) -> str:
        return f"after epoch {self.state.epoch} of {self.recipe.epochs}"

    def _epoch(self) -> None:
        state = self.state
        torch.manual_seed(derived_seed(self.recipe.seed, state.epoch))
        loss, accuracy = self._step()
        logits = self._answer()
        validation_loss, validation = self._score(logits, self.data.validation)
        test = self._score(logits, self.data.test)[1] if self.recipe.track_test else None
        if validation_loss < state.best_loss:
            state.best_loss, state.best_epoch = validation_loss, state.epoch
            self.best = self._weights()
        state.step = 1
        self.report(self._progress(loss, accuracy))
        epoch = GraphEpoch(state.epoch, loss, accuracy, validation_loss, validation, test)
        state.history.append(asdict(epoch))
        state.epoch, state.step = state.epoch + 1, 0
        self._pause()

    def _step(self) -> tuple[float, float]:
        self.model.train()
        where = torch.from_numpy(self.data.train)
        logits = self.model(self.x, self.graph)[where]
        loss = F.cross_entropy(logits, self.labels[where])
        self.optimizer.zero_grad()
        loss.backward()
        divergence.check_loss(loss.item(), self.model, self._where(1))
        self.optimizer.step()
        return loss.item(), float((logits.detach().argmax(1) == self.labels[where]).float().mean())

    def _answer(self) -> torch.Tensor:
        self.model.eval()
        with torch.inference_mode():
            logits: torch.Tensor = self.model(self.x, self.graph)
        return logits

    def _score(self, logits: torch.Tensor, nodes: NDArray[np.int64]) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on these nodes."""
        where = torch.from_numpy(nodes)
        right = logits[where].argmax(1) == self.labels[where]
        return F.cross_entropy(logits[where], self.labels[where]).item(), float(
            right.float().mean()
        )

    def _finish(self) -> GraphResult:
        self._save()
        restore(self.model, checkpoints.read(self.folder / BEST), self.folder / BEST)
        answers = self._answer().argmax(1).numpy()[self.data.test]
        history = tuple(GraphEpoch(**entry) for entry in self.state.history)
        best = history[self.state.best_epoch]
        return GraphResult(
            self.recipe,
            self.folder,
            best.epoch,
            best.validation,
            int((answers == self.data.labels[self.data.test]).sum()),
            len(self.data.test),
            time.monotonic() - self.started,
            history,
            max((epoch.test for epoch in history if epoch.test is not None), default=None),
        )

    def _read(self, path: Path) -> checkpoints.GraphCheckpoint:
        return checkpoints.read(path)

    def _checkpoint(
        self, tensors: dict[str, torch.Tensor], progress: dict[str, Any]
    ) -> checkpoints.GraphCheckpoint:
        whole, data = {**tensors, checkpoints.EDGES: self.edges}, self.data
        return checkpoints.GraphCheckpoint(self.recipe, data.shape, data.classes, whole, progress)


def _groups(network: nn.Module, recipe: GraphRecipe) -> list[dict[str, Any]]:
    """The published groups: first and last layer, operators (``S`` among them), clipping bounds.

    Only the first decays.
    """
    outer: list[torch.Tensor] = []
    operators: list[torch.Tensor] = []
    bounds: list[torch.Tensor] = []
    for name, parameter in network.named_parameters():
        group = (
            bounds
            if name.endswith(".alpha")
            else operators
            if name.startswith(("steps.", "edge_shares"))
            else outer
        )
        group.append(parameter)
    groups = [
        {"params": outer, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        {"params": operators, "lr": recipe.lr_operators},
        {"params": bounds, "lr": recipe.lr_bounds},
    ]
    return [group for group in groups if group["params"]]
