"""DistributedDataParallel over a quantised network of one's own.

Two processes learn what one does from the whole batch.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
import torch
from tests.support.models.blocks import Spelled, SqueezeExcite
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from edgeq.training.distributed_stats import sync_statistics
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(8) % 4
STEPS = 3
# two sums of four instead of one of eight; in float64, where no rounding falls the other way for it
ERROR = 1e-9


def network() -> nn.Module:
    """Without BatchNorm, whose statistics are each process's own."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.SiLU(),
        Spelled(8, lambda x: x * torch.sigmoid(x)),
        SqueezeExcite(8, nn.Hardsigmoid),
    )
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def learn(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The gradients of the last step, and the state after it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    gradients = {
        f"gradient of {name}": p.grad for name, p in inner.named_parameters() if p.grad is not None
    }
    return {**gradients, **inner.state_dict()}


def one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = DistributedDataParallel(
        quantize(network().double(), Scheme(4, 4), IMAGES).double().train()
    )
    with sync_statistics(2):
        found = learn(model, IMAGES[rank::2], LABELS[rank::2])
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow  # two interpreters import torch
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    alone = learn(
        quantize(network().double(), Scheme(4, 4), IMAGES).double().train(), IMAGES, LABELS
    )
    spawn(one_of_two, (free_port(), str(tmp_path)), nprocs=2)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == alone.keys()
        assert any(name.startswith("gradient") for name in found)
        for name, tensor in alone.items():
            assert torch.allclose(found[name], tensor, atol=ERROR, rtol=ERROR), name
