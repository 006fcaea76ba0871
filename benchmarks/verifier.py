"""What a verifier that knows nothing of edgeq says of the drift that certificates bound.

    python -m benchmarks.verifier [--networks 4] [--samples 8]

Fully connected networks on the digits are trained for some steps and deployed at 8 bits. For each
sample, three bounds of how far any answer of kernels that round to nearest can be from the same
network clipped alike: that of the certificate, and auto_LiRPA's by intervals (IBP) and by linear
relaxations (CROWN). Beside them what ONNX Runtime is off, and the largest of many draws of all
roundings, half of them at their ends: no bound may be below either. A number is the median over
samples, as a multiple of that largest draw.

auto_LiRPA is of 2022 and needs Python 3.10, as ``python3.10``; its environment is made once.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

import edgeq
from benchmarks.support.command import run
from benchmarks.support.peers import AUTO_LIRPA
from edgeq.data import load, normalize
from edgeq.deploy.bounds.drift.maps import LinearMap
from edgeq.deploy.bounds.drift.onnx_graph import of_qdq
from edgeq.deploy.bounds.drift.propagate import Propagation
from edgeq.deploy.bounds.drift.signal import OWN_ROUNDING, Rules
from edgeq.deploy.pipeline.export import canonical
from edgeq.files import temporary_folder
from edgeq.machine import fingerprint
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.qdq.ir import QdqTensor

    Numbers = NDArray[np.float64]

LAYERS = (2, 3, 4, 6, 8)
WIDTH = 24
STEPS = 60
DRAWS = 2000
METHODS = ("IBP", "CROWN")
FLOAT32 = 1e-4
"""Relative, what auto_LiRPA computes in."""
SAME_LSB = 1e-6
"""How far the same real numbers may be apart: both are sums in float64, in another order."""


def main() -> None:
    """Train, bound, and print the table; ends with an error where a bound does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=4, help="of each depth")
    parser.add_argument("--samples", type=int, default=8)
    asked = parser.parse_args()
    source = load("digits")
    print(f"{fingerprint().cpu}\n")
    columns = ("layers", "bounds", "measured", "certificate", *METHODS, "below")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    total = 0
    for layers in LAYERS:
        with temporary_folder() as folder:
            rows = [
                _bounds(source, layers, seed, asked.samples, folder)
                for seed in range(asked.networks)
            ]
        found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        most = np.maximum(found["drawn"], found["measured"])
        bounds = {name: found[name] for name in ("certificate", *METHODS)}
        below = sum(int((each < most * (1 - FLOAT32)).sum()) for each in bounds.values())
        total += below
        shown = (np.median(each / most) for each in (found["measured"], *bounds.values()))
        ratios = " | ".join(f"{each:.2f}" for each in shown)
        print(f"| {layers} | {len(most)} | {ratios} | {below} |", flush=True)
    if total:
        raise SystemExit(f"{total} bounds are below what was seen")


def _bounds(
    source: DataSource, layers: int, seed: int, samples: int, folder: Path
) -> dict[str, Numbers]:
    """Each bound of each sample, of one network."""
    path = folder / f"{layers}-{seed}.onnx"
    edgeq.calibrate(_trained(source, layers, seed), source, path, samples=128)
    propagation = Propagation(of_qdq(read_qdq(canonical(path))))
    graph = propagation.graph
    images = normalize(source.test.images[:samples], source)
    (entry,) = graph.inputs
    given = {entry.name: torch.from_numpy(images).double().reshape(-1, *entry.shape)}
    signals = propagation.run(given, Rules(kernel_lsb=0.0, clipped=True))
    answer = signals[graph.output.name]
    if answer.reference is None:
        raise ValueError("nothing is known of the answers")
    certificate = torch.minimum(answer.error.flatten(1).amax(1), answer.norm).numpy()
    deployed = _Deployed.read(propagation)
    flat = images.reshape(len(images), -1).astype(np.float64).clip(*_ends(entry))
    real = deployed.answers(flat, np.zeros((1, deployed.errors)))
    apart = np.abs(real - answer.reference.flatten(1).numpy()).max() / float(graph.output.scale)
    if apart > SAME_LSB:
        raise ValueError("the network that is drawn from is not the one of the certificate")
    with TARGETS.load("ort-cpu-ref").open(path) as session:
        measured = np.abs(session.run(images) - real).max(1)
    arrays = {**deployed.arrays, "samples": flat}
    np.savez(folder / "network.npz", **arrays)
    peer = AUTO_LIRPA.run(file=str(folder / "network.npz"), layers=layers)
    return {
        "measured": measured,
        "drawn": deployed.drawn(flat, real, np.random.default_rng(seed)),
        "certificate": certificate,
        **{name: np.array(peer[name]) for name in METHODS},
    }


def _trained(source: DataSource, layers: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    parts: list[nn.Module] = [nn.Flatten(), nn.Linear(64, WIDTH)]
    for _ in range(layers - 2):
        parts += [nn.ReLU(), nn.Linear(WIDTH, WIDTH)]
    network = nn.Sequential(*parts, nn.ReLU(), nn.Linear(WIDTH, 10))
    images = torch.from_numpy(normalize(source.train.images, source))
    labels = torch.from_numpy(source.train.class_labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network


@dataclass(frozen=True, slots=True, eq=False)
class _Deployed:
    """The same network, with all that rounding can add as inputs from -1 to 1.

    Attributes:
        arrays: by the names that the peer knows them by.
        layers: how many.
    """

    arrays: dict[str, Numbers]
    layers: int

    @classmethod
    def read(cls, propagation: Propagation) -> _Deployed:
        """Of a file of fully connected layers."""
        graph = propagation.graph
        (entry,) = graph.inputs
        count = int(np.prod(entry.shape))
        arrays, layer = {"half_0": np.full(count, OWN_ROUNDING * float(entry.scale))}, 0
        for op in graph.operators:
            if not isinstance(op.effect, LinearMap):
                continue
            layer += 1
            effect = op.effect
            each = torch.eye(count).double().reshape(count, *op.operands[0].shape)
            weight = effect.apply(each, effect.weight).numpy().reshape(count, -1).T
            count, grid = len(weight), op.output
            low, high = _ends(grid)
            bias, half = (
                np.zeros(count) if each is None else each.numpy().reshape(-1)
                for each in (effect.bias, effect.bias_step)
            )
            arrays |= {
                f"weight_{layer}": weight,
                f"bias_{layer}": bias,
                f"bias_half_{layer}": half,
                f"half_{layer}": np.full(count, float(grid.scale) / 2),
                f"low_{layer}": np.full(count, low),
                f"high_{layer}": np.full(count, high),
            }
        return cls({name: np.ascontiguousarray(array) for name, array in arrays.items()}, layer)

    @property
    def errors(self) -> int:
        """How many numbers rounding adds."""
        return sum(len(array) for name, array in self.arrays.items() if "half" in name)

    def answers(self, samples: Numbers, errors: Numbers) -> Numbers:
        """Of samples, (samples, inputs), and errors, (samples or 1, all of them)."""
        place = 0

        def share(half: Numbers) -> Numbers:
            nonlocal place
            place += len(half)
            return errors[:, place - len(half) : place] * half

        held = self.arrays
        y = samples + share(held["half_0"])
        for layer in range(1, self.layers + 1):
            y = y @ held[f"weight_{layer}"].T + held[f"bias_{layer}"]
            y = y + share(held[f"bias_half_{layer}"])
            y = np.clip(y, held[f"low_{layer}"], held[f"high_{layer}"]) + share(
                held[f"half_{layer}"]
            )
        return y

    def drawn(self, samples: Numbers, real: Numbers, random: np.random.Generator) -> Numbers:
        """The largest drift of each sample over draws of what rounding adds."""
        errors = random.uniform(-1, 1, (DRAWS, self.errors))
        errors[::2] = np.sign(errors[::2])
        return np.array(
            [
                np.abs(self.answers(sample[None], errors) - its).max()
                for sample, its in zip(samples, real, strict=True)
            ]
        )


def _ends(tensor: QdqTensor) -> tuple[float, float]:
    """The lowest and the highest real number of a grid."""
    scale, zero = float(tensor.scale), int(tensor.zero_point)
    return (tensor.low - zero) * scale, (tensor.high - zero) * scale


if __name__ == "__main__":
    run(main)
