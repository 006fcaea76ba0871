"""Puts quantisers into a graph network, and measures what rounding its activations does."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from edgeq.errors import UsageError
from edgeq.metrics.drift import DriftMeter, pooled_mse
from edgeq.models.pde_gcn import DiffusionStep, PdeGcn
from edgeq.training.activation_error import ActivationError
from edgeq.training.graph.recipe import FLOAT
from edgeq.training.layers import WeightQuantizer
from edgeq.training.qat_transform import set_rounding
from edgeq.training.quantizers.ceiling import CeilingClip
from edgeq.training.quantizers.learned_clip import LearnedClip

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeq.models.pde_gcn import SparseGradient
    from edgeq.training.graph.recipe import GraphScheme

_SHARES = 20  # of the largest magnitude that are tried as a bound


def quantize_graph(model: PdeGcn, scheme: GraphScheme) -> PdeGcn:
    """A copy of a float network with the published quantisers in each step.

    The state and the inner activation get a learned bound each (Ben-Yair et al., 2022, Eq. 18). The
    operators are quantised as they are: without a BatchNorm behind them, nothing would absorb the
    scale that Eq. 20 takes away. The first and the last layer stay in float, as published.
    """
    model = copy.deepcopy(model)
    for step in _steps(model):
        step.quantize_state, step.quantize_inner = _activations(scheme), _activations(scheme)
        if scheme.weight_bits != FLOAT:
            step.quantize_k1 = _weights(step.k1, scheme.weight_bits)
            if step.k2 is not None:
                step.quantize_k2 = _weights(step.k2, scheme.weight_bits)
    return model


def _steps(model: PdeGcn) -> list[DiffusionStep]:
    return [step for step in model.steps if isinstance(step, DiffusionStep)]


def _activations(scheme: GraphScheme) -> nn.Module:
    if scheme.activations == "released":
        return CeilingClip(scheme.act_bits, bound=scheme.bound)
    # narrow: an odd function, as tanh is
    return LearnedClip(scheme.act_bits, signed=True, narrow_range=True, bound=scheme.bound)


def _weights(operator: Tensor, bits: int) -> WeightQuantizer:
    bound = float(operator.detach().abs().max())
    return WeightQuantizer(
        LearnedClip(bits, signed=True, narrow_range=True, bound=bound), normalize=False
    )


@torch.no_grad()
def observe_bounds(model: PdeGcn, x: Tensor, graph: SparseGradient) -> None:
    """Set the bounds that are still zero to the ones of least squared error in one pass.

    Few of a graph's values are large: at 4 bits a bound at the largest magnitude would round most
    of them to zero.

    Args:
        model: a network, quantised or not; its mode is kept.
        x: features (nodes, in_channels).
        graph: its gradient.
    """
    clips = [clip for step in _steps(model) for clip in (step.quantize_state, step.quantize_inner)]
    waiting = [clip for clip in clips if isinstance(clip, LearnedClip) and not clip.alpha]
    if not waiting:
        return

    def observe(clip: LearnedClip, inputs: tuple[Tensor, ...]) -> None:
        clip.alpha.fill_(_best_bound(clip, inputs[0]))

    hooks = [clip.register_forward_pre_hook(observe) for clip in waiting]
    training = model.training
    try:
        model.eval()(x, graph)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()


def _best_bound(clip: LearnedClip, x: Tensor) -> float:
    def error(bound: float) -> float:
        clip.alpha.fill_(bound)
        return float((clip.forward(x) - x).square().sum())

    largest = float(x.abs().max())
    return min((largest * share / _SHARES for share in range(1, _SHARES + 1)), key=error)


@torch.inference_mode()
def graph_activation_error(
    model: PdeGcn, x: Tensor, graph: SparseGradient, labels: Tensor, where: Tensor
) -> ActivationError:
    """The MSE "4A -> 32A" of Table 3.

    Over the states of all steps behind their quantisers, stacked, on all nodes.

    The reference clips at the same bounds and does not round; weights are the same.

    Args:
        model: a quantised network, in evaluation mode.
        x: features (nodes, in_channels).
        graph: its gradient.
        labels: int64, (nodes,).
        where: int64, the nodes that the accuracy without rounding is measured on.

    Raises:
        UsageError: the network carries no quantisers.
    """
    steps = _steps(model)
    rounded, clipped, logits = _both_states(model, x, graph)
    meters = [DriftMeter(f"steps.{depth}", depth) for depth in range(len(steps))]
    for meter, reference, other in zip(meters, clipped, rounded, strict=True):
        meter.update(reference.numpy(), other.numpy())
    blocks = tuple(meter.result() for meter in meters)
    mse = pooled_mse(blocks)
    right = float((logits[where].argmax(1) == labels[where]).float().mean())
    return ActivationError(mse, mse**0.5, blocks, right, len(labels))


def _both_states(
    model: PdeGcn, x: Tensor, graph: SparseGradient
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The states with their activations rounded, those that are only clipped, and their logits."""
    if not isinstance(_steps(model)[0].quantize_state, LearnedClip):
        raise UsageError(
            "a network without quantisers rounds no activations", hint="measure a quantised one"
        )
    rounded, _ = states_of(model, x, graph)
    set_rounding(model, weights=True, activations=False)
    try:
        clipped, logits = states_of(model, x, graph)
    finally:
        set_rounding(model, weights=True, activations=True)
    return rounded, clipped, logits


def states_of(model: PdeGcn, x: Tensor, graph: SparseGradient) -> tuple[list[Tensor], Tensor]:
    """The states of all steps behind their quantisers, and the logits."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, out: Tensor) -> None:
        found.append(out)

    hooks = [step.quantize_state.register_forward_hook(keep) for step in _steps(model)]
    try:
        logits = model(x, graph)
    finally:
        for hook in hooks:
            hook.remove()
    return found, logits
