"""The gradient of a graph has its exact adjoint; a symmetric step does not expand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeq.models.pde_gcn import DiffusionStep, Dropout, PdeGcn, SparseGradient


def graph(nodes: int, seed: int) -> SparseGradient:
    """A random graph, both directions of each edge."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.triu(torch.rand(nodes, nodes, generator=generator) < 0.5, 1)
    upper[0, 1] = True
    edges = torch.cat([upper.nonzero().T, upper.T.nonzero().T], 1)
    return SparseGradient(edges, nodes).double()


def matrix(of: SparseGradient) -> Tensor:
    return of.gradient(torch.eye(of.nodes, dtype=torch.float64))


@settings(max_examples=40)
@given(st.integers(2, 9), st.integers(0, 2**31))
def test_the_adjoint_is_the_transpose(nodes: int, seed: int) -> None:
    sparse = graph(nodes, seed)
    torch.testing.assert_close(
        sparse.adjoint(torch.eye(sparse.edges.shape[1], dtype=torch.float64)), matrix(sparse).T
    )


@settings(max_examples=40)
@given(st.integers(2, 9), st.integers(0, 2**31))
def test_the_gradient_is_bounded(nodes: int, seed: int) -> None:
    assert torch.linalg.matrix_norm(matrix(graph(nodes, seed)), 2) ** 2 <= 9 / 8


@settings(max_examples=20)
@given(st.floats(0.01, 1), st.integers(0, 2**31))
def test_a_symmetric_step_below_its_limit_does_not_expand(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    where = graph(6, seed)
    step = DiffusionStep(3, symmetric=True, step_size=1.0, dropout=0.0).double()
    torch.nn.init.normal_(step.k1)
    norm = torch.linalg.matrix_norm(step.k1, 2) * torch.linalg.matrix_norm(matrix(where), 2)
    step.step_size = share * 2 / float(norm.detach()) ** 2
    x, y = torch.randn(2, 6, 3, dtype=torch.float64)
    assert (step(x, where) - step(y, where)).norm() <= (x - y).norm() * (1 + 1e-12)


def test_both_operators_start_as_the_identity_so_both_networks_agree() -> None:
    torch.manual_seed(0)
    one = PdeGcn(4, classes=2, in_channels=5, symmetric=True, layers=3).double().eval()
    two = PdeGcn(4, classes=2, in_channels=5, symmetric=False, layers=3).double().eval()
    two.load_state_dict({**two.state_dict(), **one.state_dict()})
    x, where = torch.randn(6, 5, dtype=torch.float64), graph(6, 0)
    torch.testing.assert_close(one(x, where), two(x, where))


@settings(max_examples=40)
@given(st.integers(2, 9), st.integers(0, 2**31))
def test_each_pair_once_is_the_graph_with_both_directions(nodes: int, seed: int) -> None:
    both = graph(nodes, seed)
    once = SparseGradient.once(both.edges, nodes).double()
    assert 2 * once.edges.shape[1] == both.edges.shape[1]
    torch.manual_seed(seed)
    net = (
        PdeGcn(3, classes=2, in_channels=4, symmetric=False, layers=3, step_size=0.7)
        .double()
        .eval()
    )
    for parameter in net.steps.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(nodes, 4, dtype=torch.float64)
    torch.testing.assert_close(net(x, once), net(x, both))


def test_training_and_evaluation_are_one_function_without_dropout() -> None:
    torch.manual_seed(0)
    where = graph(7, 1)
    net = PdeGcn(3, classes=2, in_channels=4, symmetric=False, layers=3, dropout=0.0).double()
    for parameter in net.steps.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(7, 4, dtype=torch.float64)
    torch.testing.assert_close(net.train()(x, where), net.eval()(x, where))


def test_sparse_features_are_dense_ones() -> None:
    torch.manual_seed(0)
    where = graph(7, 1)
    net = PdeGcn(3, classes=2, in_channels=4, symmetric=True, layers=1).double().eval()
    x = torch.randn(7, 4, dtype=torch.float64) * (torch.rand(7, 4) < 0.5)
    torch.testing.assert_close(net(x.to_sparse().coalesce(), where), net(x, where))


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout = Dropout(0.7)
    found = dropout(torch.ones(300, 333))
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.3])
    assert float((found == 0).float().mean()) == pytest.approx(0.7, abs=0.01)
    assert torch.equal(dropout.eval()(torch.ones(3)), torch.ones(3))
    assert torch.equal(Dropout(0.0)(torch.ones(3)), torch.ones(3))


@settings(max_examples=20)
@given(st.integers(2, 9), st.integers(0, 2**31))
def test_learnt_weights_are_those_of_pairs_and_keep_the_bound(nodes: int, seed: int) -> None:
    both = graph(nodes, seed)
    once = SparseGradient.once(both.edges, nodes).double()
    pairs = once.edges.shape[1]
    torch.manual_seed(seed)
    net = PdeGcn(3, classes=2, in_channels=4, symmetric=True, layers=2, pairs=pairs).double().eval()
    assert net.edge_shares is not None
    torch.nn.init.normal_(net.edge_shares, 0, 3)
    x = torch.randn(nodes, 4, dtype=torch.float64)
    torch.testing.assert_close(net(x, once), net(x, both))
    learnt = net.learnt(both)
    assert torch.linalg.matrix_norm(matrix(learnt).detach(), 2) ** 2 <= 9 / 8
    (gradient,) = torch.autograd.grad(net(x, once).square().sum(), net.edge_shares)
    assert gradient.isfinite().all()


def test_the_margin_of_a_step_is_of_the_condition() -> None:
    step = DiffusionStep(3, symmetric=True, step_size=1.0, dropout=0.0)
    assert step.margin() == pytest.approx(9 / 16)
    torch.nn.init.constant_(step.k1, 1.0)
    assert step.margin() == pytest.approx(9 * 9 / 16)
    assert DiffusionStep(3, symmetric=False, step_size=1.0, dropout=0.0).margin() == float("inf")
