"""The BatchNorm of several processes, against PyTorch's own, in one process that stands for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import distributed, nn

from edgeq.errors import UsageError
from edgeq.training import distributed_stats

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two processes that have the very same part: a sum is twice what each has."""

    def all_reduce(tensor: torch.Tensor, op: Any = distributed.ReduceOp.SUM) -> None:
        if op == distributed.ReduceOp.SUM:
            tensor.mul_(2)

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    with distributed_stats.sync_statistics(2):
        yield


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm2d, (6, 3, 5, 4)), (nn.BatchNorm1d, (6, 3))]
)
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}]
)
def test_it_is_the_batchnorm_of_the_whole_batch(
    twice: None, kind: type[Any], shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    ours, theirs = (kind(3, **options).double() for _ in range(2))
    distributed_stats.synchronize(ours)
    for step in range(2):
        x = (step + torch.randn(shape)).double()
        part, whole = x.clone().requires_grad_(), torch.cat([x, x]).requires_grad_()
        weight = torch.randn(shape).double()
        y, wanted = ours(part), theirs(whole)
        (y * weight).sum().backward()
        (wanted * torch.cat([weight, weight])).sum().backward()
        torch.testing.assert_close(y, wanted[:6], rtol=1e-9, atol=1e-12)
        assert part.grad is not None
        assert whole.grad is not None
        torch.testing.assert_close(part.grad, whole.grad[:6], rtol=1e-9, atol=1e-12)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-9, atol=1e-12)


def test_evaluation_is_pytorchs(twice: None) -> None:
    bn = nn.BatchNorm2d(3).eval()
    x = torch.randn(2, 3, 4, 4)
    wanted = bn(x)
    distributed_stats.synchronize(bn)
    assert torch.equal(bn(x), wanted)


def test_means_and_extremes(twice: None) -> None:
    value = torch.tensor([1.0, -2.0])
    assert torch.equal(distributed_stats.mean(value), value)
    assert torch.equal(distributed_stats.largest(value), value)
    assert torch.equal(distributed_stats.least(value), value)


def test_alone_nothing_is_asked() -> None:
    bn = nn.BatchNorm2d(3)
    twin = nn.BatchNorm2d(3)
    distributed_stats.synchronize(bn)
    x = torch.randn(4, 3, 2, 2)
    assert torch.equal(bn(x), twin(x))
    assert bn.running_var is not None
    assert twin.running_var is not None
    assert torch.equal(bn.running_var, twin.running_var)


def test_a_number_of_processes_that_torch_does_not_have_is_refused() -> None:
    with (
        pytest.raises(
            UsageError, match=r"sync_statistics\(2\) is asked for, and torch.distributed has 1"
        ),
        distributed_stats.sync_statistics(2),
    ):
        pass
