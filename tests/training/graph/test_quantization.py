"""Quantisers of graph networks.

Where they stand, what they cost, and that the cost stays below what can be proved.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeq.errors import UsageError
from edgeq.metrics.groups import errors_by_degree
from edgeq.models.pde_gcn import DiffusionStep, PdeGcn, SparseGradient
from edgeq.training.graph.quantization import (
    graph_activation_error,
    observe_bounds,
    quantize_graph,
    states_of,
)
from edgeq.training.graph.recipe import GraphScheme
from edgeq.training.layers import WeightQuantizer
from edgeq.training.qat_transform import quantizers, set_rounding
from edgeq.training.quantizers.learned_clip import LearnedClip


def network(seed: int = 0, *, symmetric: bool = True, layers: int = 3) -> PdeGcn:
    torch.manual_seed(seed)
    net = PdeGcn(3, classes=2, in_channels=4, symmetric=symmetric, layers=layers)
    for step in net.steps:
        for parameter in step.parameters():
            torch.nn.init.normal_(parameter)
    return net.eval()


def random_graph(nodes: int, seed: int) -> SparseGradient:
    generator = torch.Generator().manual_seed(seed)
    upper = torch.triu(torch.rand(nodes, nodes, generator=generator) < 0.5, 1)
    upper[0, 1] = True
    return SparseGradient.once(torch.cat([upper.nonzero().T, upper.T.nonzero().T], 1), nodes)


def steps_of(net: PdeGcn) -> list[DiffusionStep]:
    return [step for step in net.steps if isinstance(step, DiffusionStep)]


@pytest.mark.parametrize(("symmetric", "operators"), [(True, 1), (False, 2)])
def test_each_step_gets_the_published_quantisers(symmetric: bool, operators: int) -> None:
    net = quantize_graph(network(symmetric=symmetric), GraphScheme(4, 8))
    for step in steps_of(net):
        assert [module.bits for module in quantizers(step)].count(8) == 2
        assert [module.bits for module in quantizers(step)].count(4) == operators
        for module in quantizers(step):
            assert isinstance(module, LearnedClip)
            assert (module.signed, module.narrow_range) == (True, True)
    released = quantize_graph(network(), GraphScheme(32, 4, "released"))
    assert not [module for module in released.modules() if isinstance(module, WeightQuantizer)]


def test_quantising_leaves_the_float_network_alone() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    quantize_graph(net, GraphScheme(4, 4))
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_identity_lies_on_the_operators_grid() -> None:
    step: Any = quantize_graph(
        PdeGcn(3, classes=2, in_channels=4, symmetric=True, layers=1), GraphScheme(4, 4)
    ).steps[0]
    assert torch.equal(step.quantize_k1(step.k1), torch.eye(3))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from([2, 3, 4, 8]))
def test_an_edge_and_its_reverse_answer_alike_when_quantised(seed: int, bits: int) -> None:
    net = quantize_graph(network(seed), GraphScheme(4, bits, bound=2.0)).double()
    once = random_graph(6, seed)
    weights = torch.cat([once.weights, once.weights])[:, 0]
    both = SparseGradient(torch.cat([once.edges, once.edges.flip(0)], 1), 6, weights).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(net(x, once.double()), net(x, both))


def test_bounds_are_observed_only_where_they_are_zero() -> None:
    graph, x = random_graph(9, 0), torch.rand(9, 4)
    kept = quantize_graph(network(), GraphScheme(4, 4))
    observe_bounds(kept, x, graph)
    assert {
        float(value) for name, value in kept.state_dict().items() if "quantize_state" in name
    } == {6.0}
    net = quantize_graph(network(), GraphScheme(4, 8, bound=0))
    observe_bounds(net.train(), x, graph)
    assert net.training
    labels, where = torch.zeros(9, dtype=torch.int64), torch.arange(9)
    rounded = graph_activation_error(net.eval(), x, graph, labels, where)
    assert 0 < rounded.mse < graph_activation_error(kept.eval(), x, graph, labels, where).mse


def test_the_error_is_the_mean_over_all_states_and_leaves_rounding_on() -> None:
    graph, x = random_graph(9, 0), torch.rand(9, 4)
    net = quantize_graph(network(), GraphScheme(4, 4, bound=2.0))
    found = graph_activation_error(
        net, x, graph, torch.zeros(9, dtype=torch.int64), torch.arange(9)
    )
    states: dict[bool, list[Tensor]] = {True: [], False: []}
    for rounding, kept in states.items():
        set_rounding(net, weights=True, activations=rounding)
        state = net.relu(net.open(x))
        for step in steps_of(net):
            kept.append(step.quantize_state(state))
            state = step(state, graph)
    expected = (torch.stack(states[True]) - torch.stack(states[False])).square().mean().item()
    assert found.mse == pytest.approx(expected, rel=1e-5)
    assert found.rmse == pytest.approx(expected**0.5, rel=1e-5)
    assert (len(found.blocks), found.samples) == (3, 9)
    set_rounding(net, weights=True, activations=True)
    graph_activation_error(net, x, graph, torch.zeros(9, dtype=torch.int64), torch.arange(9))
    assert all(module.rounding for module in quantizers(net))


@torch.inference_mode()
def test_the_error_by_degree_adds_up_to_the_whole() -> None:
    edges = [(0, other) for other in range(1, 6)] + [(1, 2), (2, 3)]  # node 6 has no neighbour
    both = torch.tensor([*edges, *((b, a) for a, b in edges)]).T
    x = torch.rand(7, 4)
    net = quantize_graph(network(), GraphScheme(4, 4, bound=2.0)).eval()
    labels, where = torch.zeros(7, dtype=torch.int64), torch.arange(7)
    for graph in (SparseGradient(both, 7), SparseGradient.once(both, 7)):
        rounded, _ = states_of(net, x, graph)
        set_rounding(net, weights=True, activations=False)
        clipped, _ = states_of(net, x, graph)
        set_rounding(net, weights=True, activations=True)
        states = [(a.numpy(), b.numpy()) for a, b in zip(clipped, rounded, strict=True)]
        found = errors_by_degree(states, graph.edges.numpy(), 7)
        ends = [(each.low, each.high, each.nodes) for each in found]
        assert ends == [(0, 0, 1), (1, 1, 2), (2, 2, 2), (3, 3, 1), (5, 5, 1)]
        mean = sum(each.mse * each.nodes for each in found) / 7
        whole = graph_activation_error(net, x, graph, labels, where)
        assert mean == pytest.approx(whole.mse, rel=1e-5)


def test_a_float_network_has_no_rounding_error() -> None:
    with pytest.raises(UsageError, match="rounds no activations"):
        graph_activation_error(
            network(),
            torch.rand(9, 4),
            random_graph(9, 0),
            torch.zeros(9, dtype=torch.int64),
            torch.arange(9),
        )


def norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.detach(), 2))


@settings(max_examples=150)
@given(
    st.integers(0, 2**31),
    st.integers(2, 9),
    st.integers(1, 6),
    st.sampled_from([2, 3, 4, 8]),
    st.floats(0.05, 1.0),
    st.floats(0.1, 4.0),
)
def test_rounding_noise_stays_below_its_bound(
    seed: int, nodes: int, layers: int, bits: int, share: float, bound: float
) -> None:
    """A symmetric network whose steps do not expand adds the noise of its layers up, and no more.

    ``||eta_N|| <= sum_j ( sqrt(n_j) s1_j / 2 + h_j ||K_j|| ||S|| sqrt(m_j) s2_j / 2 )`` while
    ``h_j ||K_j||^2 ||S||^2 <= 2``; follows from Ben-Yair, Eliasof, Treister (2022), Eq. 16, by the
    mean value theorem. ``S`` here has both directions of each edge.
    """
    net = quantize_graph(network(seed, layers=layers), GraphScheme(4, bits, bound=bound)).double()
    once = random_graph(nodes, seed).double()
    both = SparseGradient(
        torch.cat([once.edges, once.edges.flip(0)], 1), nodes, torch.cat([once.weights] * 2)[:, 0]
    ).double()
    spread = norm(both.gradient(torch.eye(nodes, dtype=torch.float64)))
    assert spread**2 <= 9 / 8 + 1e-12
    limit = 0.0
    for step in steps_of(net):
        operator = norm(step.quantize_k1(step.k1))
        step.step_size = share * 2 / max(operator * spread, 1e-9) ** 2
        state, inner = step.quantize_state, step.quantize_inner
        assert isinstance(state, LearnedClip)
        assert isinstance(inner, LearnedClip)
        limit += (nodes * 3) ** 0.5 * float(state.scale.detach()) / 2
        limit += (
            step.step_size
            * operator
            * spread
            * (both.edges.shape[1] * 3) ** 0.5
            * float(inner.scale.detach())
            / 2
        )
    ends = []
    x = torch.randn(nodes, 3, dtype=torch.float64) * 2
    for rounding in (True, False):
        set_rounding(net, weights=True, activations=rounding)
        state_now = x
        for step in steps_of(net):
            state_now = step(state_now, both)
        ends.append(state_now)
    assert float((ends[0] - ends[1]).detach().norm()) <= limit * (1 + 1e-9)
