"""The gradient of a graph has its exact adjoint in both forms, and a symmetric step does not expand below its limit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeq.models.pde_gcn import DiffusionStep, OnGraph, PdeGcn, SparseGradient


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
def test_sparse_and_dense_are_one_operator_with_one_adjoint(nodes: int, seed: int) -> None:
    sparse = graph(nodes, seed)
    dense = sparse.dense()
    x, g = torch.randn(nodes, 3, dtype=torch.float64), torch.randn(sparse.edges.shape[1], 3, dtype=torch.float64)
    torch.testing.assert_close(sparse.gradient(x), dense.gradient(x))
    torch.testing.assert_close(sparse.adjoint(g), dense.adjoint(g))
    assert (sparse.gradient(x) * g).sum().item() == pytest.approx((x * sparse.adjoint(g)).sum().item(), rel=1e-10, abs=1e-10)


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
    torch.testing.assert_close(OnGraph(one, where)(x), OnGraph(two, where.dense())(x))
