"""auto_LiRPA: bounds of a small network by intervals and by linear relaxations.

The network answers what a deployed file would: each of its numbers is that of the real network,
clipped to a grid, plus a share of half a step, which is an input here. Bounds over all such inputs
are bounds of the drift.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm

METHODS = ("IBP", "CROWN")


class Deployed(torch.nn.Module):
    """A fully connected network on grids.

    Args:
        arrays: ``half_0`` of the input, and of each layer ``weight_l``, (outputs, inputs),
            ``bias_l``, ``bias_half_l``, ``half_l``, ``low_l`` and ``high_l``; what is called
            ``half`` is scaled by an error, in this order.
        layers: how many.
    """

    def __init__(self, arrays, layers):
        super().__init__()
        self.layers = layers
        halves = [name for name in arrays if "half" in name]
        self.errors, place = sum(len(arrays[name]) for name in halves), 0
        for name in halves:
            half = arrays[name]
            chosen = np.zeros((len(half), self.errors))
            chosen[:, place : place + len(half)] = np.diag(half)
            self._add(name, chosen, np.zeros(len(half)))
            place += len(half)
        for layer in range(1, layers + 1):
            self._add(f"layer_{layer}", arrays[f"weight_{layer}"], arrays[f"bias_{layer}"])
            for end in (f"low_{layer}", f"high_{layer}"):
                self.register_buffer(end, torch.from_numpy(arrays[end]).float())

    def _add(self, name, weight, bias):
        made = torch.nn.Linear(weight.shape[1], weight.shape[0])
        made.weight.data = torch.from_numpy(weight).float()
        made.bias.data = torch.from_numpy(bias).float()
        self.add_module(name, made)

    def forward(self, sample, errors):
        """The answers: of samples, (1, inputs), and errors from -1 to 1, (1, all of them)."""
        y = sample + self.half_0(errors)
        for layer in range(1, self.layers + 1):
            y = getattr(self, f"layer_{layer}")(y) + getattr(self, f"bias_half_{layer}")(errors)
            low, high = getattr(self, f"low_{layer}"), getattr(self, f"high_{layer}")
            y = low + torch.relu(y - low) - torch.relu(y - high)
            y = y + getattr(self, f"half_{layer}")(errors)
        return y


def main() -> None:
    """Bound each sample's drift by each method, and print them."""
    work = json.loads(sys.argv[1])
    arrays = dict(np.load(work["file"]))
    samples = torch.from_numpy(arrays.pop("samples")).float()
    network = Deployed(arrays, work["layers"])
    none = torch.zeros(1, network.errors)
    options = {"conv_mode": "matrix"}  # sums are not of images
    bounded = BoundedModule(network, (samples[:1], none), options, device="cpu")
    every = BoundedTensor(none, PerturbationLpNorm(norm=float("inf"), x_L=none - 1, x_U=none + 1))
    found = {}
    for method in METHODS:
        drifts = []
        for sample in samples:
            real = network(sample[None], none)
            low, high = bounded.compute_bounds(x=(sample[None], every), method=method)
            drifts.append(float(torch.maximum(high - real, real - low).detach().max()))
        found[method] = drifts
    print(json.dumps(found))


if __name__ == "__main__":
    main()
