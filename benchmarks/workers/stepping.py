"""Training steps that take turns, for whoever has torch: our process and the peers' workers.

Knows nothing of edgeq.
"""

from __future__ import annotations

import copy
import importlib.util
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

WARM_UP = 2  # the first step compiles, or allocates


def float_network(source: str) -> nn.Module:
    """ResNet-20 for 10 classes, from the file that defines it.

    Args:
        source: the path of ``models/resnet.py``.
    """
    spec = importlib.util.spec_from_file_location("network_under_test", source)
    if spec is None or spec.loader is None:
        raise ImportError(source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    network: nn.Module = module.ResNet(3, classes=10)
    return network.train()


def images(batch: int) -> torch.Tensor:
    """Random ones, (batch, 3, 32, 32), channels last."""
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(
        memory_format=torch.channels_last
    )


def training_step(
    network: nn.Module,
    batch: int,
    *,
    compiled: Callable[[nn.Module], Any] | None = None,
    bf16: bool = False,
) -> Callable[[], None]:
    """One step of SGD with momentum on a copy of the network, channels last.

    Args:
        network: is left as it is.
        batch: samples a step.
        compiled: what compiles the copy, if anything.
        bf16: run the forward pass under autocast.
    """
    move: Any = copy.deepcopy(network).to
    network = move(memory_format=torch.channels_last)
    run = network if compiled is None else compiled(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    x, labels = images(batch), torch.arange(batch) % 10

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = functional.cross_entropy(run(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def take_turns(
    steps: dict[str, Callable[[], None]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each step in each round.

    On the clock (``wall``), and of all threads together (``cpu``).

    In a round every step runs once untimed, so that its memory and not its predecessor's is at
    hand, and once timed.
    """
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    taken: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in steps}
    names = list(steps)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            steps[name]()
            wall, cpu = time.perf_counter(), time.process_time()
            steps[name]()
            taken[name]["cpu"].append(1e3 * (time.process_time() - cpu))
            taken[name]["wall"].append(1e3 * (time.perf_counter() - wall))
    return taken


def beside_float(
    network: nn.Module, quantized: nn.Module, batch: int, rounds: int, *, compiled: bool
) -> dict[str, Any]:
    """What a peer's worker prints.

    Times by name, and why its network does not compile, if it does not.

    Args:
        network: in float.
        quantized: the same with the peer's quantisers.
        batch: samples a step.
        rounds: how often each step is timed.
        compiled: time both through ``torch.compile`` too.
    """
    steps = {"fp32": training_step(network, batch), "qat": training_step(quantized, batch)}
    failure = ""
    if compiled:
        steps["fp32 compiled"] = training_step(network, batch, compiled=torch.compile)
        step = training_step(quantized, batch, compiled=torch.compile)
        try:
            step()
        except Exception as error:  # noqa: BLE001  (whatever the compiler raises on what it was not made for)
            failure = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        else:
            steps["qat compiled"] = step
    return {"times": take_turns(steps, rounds), "failure": failure, "torch": torch.__version__}
