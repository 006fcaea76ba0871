"""Graph networks that are steps of a diffusion equation: PDE-GCN_D, symmetric and not.

Eliasof, Haber, Treister, "PDE-GCN: novel architectures for graph neural networks motivated by
partial differential equations" (2021), in the quantised form of Ben-Yair, Eliasof, Treister,
"Quantized convolutional neural networks through the lens of partial differential equations" (2022),
Table 3: ``x - h S^T K2 tanh(K1 S x)`` with the gradient ``S`` of the graph and 1x1 operators on the
channels. In the symmetric network ``K2`` is ``K1^T``, and the step does not expand while
``h ||K1||^2 ||S||^2 <= 2``; ``||S||^2`` is at most 9/8 with the weights of :func:`edge_weights`.

``S`` maps nodes to edges: ``(S x)_e = w_e (x_i - x_j)`` for the directed edge e from i to j.

An edge and its reverse answer alike: ``S`` changes sign, and so does every odd function behind it.
So a graph may hold each pair of nodes once and count it twice on the way back, at half the work and
with the same result; not with a quantiser that has no level at zero, which is not odd.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEP_SIZE = 0.5
LAYERS = 32
GRADIENT = 9 / 8
"""The most that ``||S||^2`` can be with the weights of :func:`edge_weights`, or smaller ones."""
_SHARE = 2.0
"""Of the weights of :func:`edge_weights`, where learnt ones start: the sigmoid of this, 88 %."""
_DRAWS = 2**16  # outcomes of one random number of a dropout mask


def edge_weights(edges: Tensor, nodes: int) -> Tensor:
    """``1 / sqrt(d_i d_j)``, float32, (edges,); a degree counts the node itself.

    Source: Kipf and Welling, 2017.

    Args:
        edges: (2, edges), both directions of each; indices of nodes.
        nodes: how many there are.
    """
    degree = torch.bincount(edges[0], minlength=nodes).float() + 1
    return (degree[edges[0]] * degree[edges[1]]).rsqrt()


class SparseGradient(nn.Module):
    """The operator ``S`` of one graph and its adjoint, by gathering and adding up rows.

    Args:
        edges: (2, edges), int64; from row 0 to row 1.
        nodes: how many there are.
        weights: (edges,); those of :func:`edge_weights` where None.
        directions: 2 where each edge stands for its reverse too.
    """

    edges: Tensor
    weights: Tensor

    def __init__(
        self, edges: Tensor, nodes: int, weights: Tensor | None = None, *, directions: int = 1
    ) -> None:
        super().__init__()
        self.nodes = nodes
        self.directions = directions
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer(
            "weights",
            (edge_weights(edges, nodes) if weights is None else weights)[:, None],
            persistent=False,
        )

    @classmethod
    def once(cls, edges: Tensor, nodes: int) -> SparseGradient:
        """Of a graph that lists both directions of each edge.

        Each pair of nodes once, counted twice on the way back.
        """
        kept = edges[0] < edges[1]
        return cls(edges[:, kept], nodes, edge_weights(edges, nodes)[kept], directions=2)

    def scaled(self, shares: Tensor) -> SparseGradient:
        """The same with other weights.

        Args:
            shares: (pairs,), the factor of each pair of nodes, in ascending order.
        """
        if self.directions == 1:
            low, high = self.edges.aminmax(dim=0)
            shares = shares[torch.unique(low * self.nodes + high, return_inverse=True)[1]]
        weights = self.weights[:, 0] * shares
        return SparseGradient(self.edges, self.nodes, weights, directions=self.directions)

    def gradient(self, x: Tensor) -> Tensor:
        """``S x``: (nodes, channels) to (edges, channels)."""
        return self.weights * (x.index_select(0, self.edges[0]) - x.index_select(0, self.edges[1]))

    def adjoint(self, g: Tensor) -> Tensor:
        """``S^T g``: (edges, channels) to (nodes, channels).

        Twice that where each edge stands for its reverse too.
        """
        weighted = self.directions * self.weights * g
        zero = torch.zeros(self.nodes, g.shape[1], dtype=g.dtype, device=g.device)
        return zero.index_add(0, self.edges[0], weighted).index_add(
            0, self.edges[1], weighted, alpha=-1
        )


class Dropout(nn.Module):
    """What ``nn.Dropout`` does, on masks of 16 random bits per element.

    A CPU draws them several times faster.

    Args:
        share: of the elements that are dropped in training, to within 1/65536.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of the elements and scale the others up, in training; any shape."""
        if not self.training or not self.share:
            return x
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = draws.to(x.device) >= round(self.share * _DRAWS) - _DRAWS // 2
        return x * (kept.to(x.dtype) / (1 - self.share))


class DiffusionStep(nn.Module):
    """``x - h S^T K2 tanh(K1 S x)``.

    Quantisers stand on the state, the inner activation and the weights.

    The operators start as the identity, as released, so that the first step is plain diffusion.

    Args:
        width: channels.
        symmetric: whether ``K2`` is the transpose of ``K1``.
        step_size: ``h``.
        dropout: of the gradient, a share.
    """

    def __init__(self, width: int, *, symmetric: bool, step_size: float, dropout: float) -> None:
        super().__init__()
        self.step_size = step_size
        self.k1 = nn.Parameter(torch.eye(width))
        self.k2 = None if symmetric else nn.Parameter(torch.eye(width))
        self.dropout = Dropout(dropout)
        self.quantize_state: nn.Module = nn.Identity()
        self.quantize_inner: nn.Module = nn.Identity()
        self.quantize_k1: nn.Module = nn.Identity()
        self.quantize_k2: nn.Module = nn.Identity()

    certified = False
    """No step promises a bound: nothing holds ``K`` in training."""

    def certify(self) -> None:
        """There is nothing to make."""

    @torch.no_grad()
    def margin(self) -> float:
        """``h L ||K||^2 ||S||^2 / 2`` with the most that ``||S||`` can be.

        The greater one of ``K`` as it is and as it is quantised. The step does not expand where it
        is at most 1. Infinity for two operators, of which nothing is known.
        """
        if self.k2 is not None:
            return float("inf")
        norms = [torch.linalg.matrix_norm(k, 2) for k in (self.k1, self.quantize_k1(self.k1))]
        return self.step_size * float(max(norms)) ** 2 * GRADIENT / 2

    def forward(self, x: Tensor, graph: SparseGradient) -> Tensor:
        """(nodes, width) to (nodes, width).

        Operators on channels and on nodes commute. Evaluation multiplies by ``K1`` and ``K2`` where
        their other factor lies on its grid, so that both are products of integers; training where
        the dropout stands, and on nodes, which are fewer.
        """
        x = self.quantize_state(x)
        k1: Tensor = self.quantize_k1(self.k1)
        k2: Tensor = k1.T if self.k2 is None else self.quantize_k2(self.k2)
        if self.training:
            inner = self.quantize_inner(torch.tanh(F.linear(self.dropout(graph.gradient(x)), k1)))
            return x - self.step_size * F.linear(graph.adjoint(inner), k2)
        inner = self.quantize_inner(torch.tanh(graph.gradient(F.linear(x, k1))))
        return x - self.step_size * graph.adjoint(F.linear(inner, k2))


class PdeGcn(nn.Module):
    """PDE-GCN_D.

    Args:
        width: channels inside.
        classes: how many outputs a node.
        in_channels: features of a node.
        symmetric: whether each step has one operator instead of two.
        layers: steps.
        step_size: ``h`` of every step.
        dropout: a share.
        pairs: pairs of nodes that are joined, where each gets a learnt share of its weight in
            ``S``; 0 for the weights of :func:`edge_weights` as they are. Shares are below one, so
            that ``||S||`` keeps its bound.
    """

    def __init__(
        self,
        width: int,
        *,
        classes: int,
        in_channels: int,
        symmetric: bool,
        layers: int = LAYERS,
        step_size: float = STEP_SIZE,
        dropout: float = 0.6,
        pairs: int = 0,
    ) -> None:
        super().__init__()
        self.edge_shares = nn.Parameter(torch.full((pairs,), _SHARE)) if pairs else None
        self.open = nn.Linear(in_channels, width, bias=False)
        self.relu = nn.ReLU()
        self.dropout = Dropout(dropout)
        self.steps = nn.ModuleList(
            DiffusionStep(width, symmetric=symmetric, step_size=step_size, dropout=dropout)
            for _ in range(layers)
        )
        self.close = nn.Linear(width, classes, bias=False)
        nn.init.xavier_uniform_(self.open.weight)
        nn.init.xavier_uniform_(self.close.weight)

    def forward(self, x: Tensor, graph: SparseGradient) -> Tensor:
        """Features (nodes, in_channels), dense or sparse COO, to logits (nodes, classes)."""
        x = self.dropout(self.relu(self._embed(x)))
        graph = self.learnt(graph)
        for step in self.steps:
            x = step(x, graph)
        logits: Tensor = self.close(self.dropout(x))
        return logits

    def learnt(self, graph: SparseGradient) -> SparseGradient:
        """The gradient with the weights that were learnt, or as it is."""
        return graph if self.edge_shares is None else graph.scaled(self.edge_shares.sigmoid())

    def _embed(self, x: Tensor) -> Tensor:
        if x.layout == torch.strided:
            opened: Tensor = self.open(self.dropout(x))
            return opened
        kept = torch.sparse_coo_tensor(
            x.indices(),
            self.dropout(x.values()),
            x.shape,
            is_coalesced=True,
            check_invariants=False,
        )
        product: Tensor = torch.sparse.mm(kept, self.open.weight.T)
        return product

    def macs(self, nodes: int, edges: int) -> int:
        """Multiply-accumulates of one pass as published.

        Both operators on each directed edge, whose weights multiply it twice.
        """
        width = self.open.out_features
        step = 2 * edges * width * width + 2 * edges * width
        return (
            nodes * (self.open.weight.numel() + self.close.weight.numel()) + len(self.steps) * step
        )
