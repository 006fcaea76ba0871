"""A training step with quantisers beside the FP32 step.

Ours, torchao's PT2E and Brevitas's, ResNet-20 for 32 x 32 images.

    python -m benchmarks.training.qat [--threads 2] [--rounds 20] [--batch 128]
        [--peers torchao brevitas] [--json FILE]

Steps of forward, backward and SGD take turns in one process; each peer has an environment and a
process of its own, in which it is held against the FP32 step of that process. So every figure is a
ratio, and other work on the machine weighs on both of its sides. The clock's ratio is what a user
waits; with one thread the ratio of processor time is the steadier one on a busy machine. All
networks have their channels last. Ours is 4W/8A in the integer placement; the peers' are what their
documentation starts with, 8 bits: torchao with the quantiser it ships, Brevitas its whole-graph
quantisation with BatchNorm kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.support.command import run
from benchmarks.support.peers import BREVITAS, TORCHAO, Peer, PeerError
from benchmarks.workers import stepping
from edgeq.machine import fingerprint
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SOURCE = Path(__file__).parents[2] / "models" / "resnet.py"
PEERS = {peer.name: peer for peer in (TORCHAO, BREVITAS)}
COLUMNS = (
    "step",
    "beside",
    "times as long (middle half)",
    "processor time",
    "own p50 ms",
    "beside p50 ms",
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One step against another of the same rounds, no unit.

    Attributes:
        p50: the median over the rounds.
        low: the first quartile.
        high: the third.
    """

    p50: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.p50:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Row:
    """What one comparison came to.

    Attributes:
        step: whose.
        beside: which FP32 step it is held against.
        wall: by the clock.
        cpu: by the time of all processors.
        p50_ms: the step's median by the clock.
        beside_p50_ms: the FP32 step's.
    """

    step: str
    beside: str
    wall: Ratio
    cpu: Ratio
    p50_ms: float
    beside_p50_ms: float


@dataclass(frozen=True, slots=True)
class Goal:
    """The most that a step of ours may take."""

    step: str
    beside: str
    most: float

    def verdict(self, rows: Iterable[Row]) -> str:
        """Met or missed, by the clock.

        Inconclusive where the middle half of the rounds holds the goal.
        """
        found = next(row.wall for row in rows if (row.step, row.beside) == (self.step, self.beside))
        word = (
            "met"
            if found.high <= self.most
            else "missed"
            if found.low > self.most
            else "inconclusive"
        )
        return f"{self.step} at most {self.most:g} times {self.beside}: {word}, {found}"


GOALS = (
    Goal("edgeq", "FP32", 1.1),
    Goal("edgeq, compiled", "FP32", 1.1),
    Goal("edgeq, compiled", "FP32, compiled", 1.15),
)


def paired(own: Sequence[float], beside: Sequence[float]) -> Ratio:
    """The ratio round by round, at least two rounds."""
    ratios = [a / b for a, b in zip(own, beside, strict=True)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return Ratio(middle, low, high)


def row(step: str, beside: str, own: dict[str, list[float]], other: dict[str, list[float]]) -> Row:
    """The comparison of two steps that took turns."""
    return Row(
        step,
        beside,
        paired(own["wall"], other["wall"]),
        paired(own["cpu"], other["cpu"]),
        median(own["wall"]),
        median(other["wall"]),
    )


def main() -> None:
    """Measure, print a Markdown table and what it says of the goals."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    rows = _ours(arguments.batch, arguments.rounds)
    failures: list[str] = []
    for name in arguments.peers:
        found, failed = _peer(PEERS[name], arguments)
        rows += found
        failures += failed
    machine = fingerprint()
    print(
        f"{machine.cpu}, {arguments.threads} of {machine.cores} cores, Python "
        f"{platform.python_version()}, torch {torch.__version__};"
    )
    print(
        f"batch {arguments.batch}, {arguments.rounds} rounds; edgeq {version('edgeq')}, "
        f"{', '.join(_requirements(arguments.peers))}\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for one in rows:
        print(
            f"| {one.step} | {one.beside} | {one.wall} | {one.cpu.p50:.2f} | "
            f"{one.p50_ms:.0f} | {one.beside_p50_ms:.0f} |"
        )
    print("\n" + "\n".join([*failures, *(goal.verdict(rows) for goal in GOALS)]))
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {
                    "machine": asdict(machine),
                    "rows": [asdict(one) for one in rows],
                    "failures": failures,
                }
            ),
            encoding="utf-8",
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--peers",
        nargs="*",
        default=list(PEERS),
        choices=list(PEERS),
        help="which of them; their environments are large",
    )
    parser.add_argument(
        "--peers-eager",
        action="store_true",
        help="leave out the peers through torch.compile, which takes minutes",
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def _requirements(peers: Iterable[str]) -> list[str]:
    return [
        requirement
        for name in peers
        for requirement in PEERS[name].requirements
        if not requirement.startswith("torch==")
    ]


def _ours(batch: int, rounds: int) -> list[Row]:
    network = stepping.float_network(str(SOURCE))
    quantized = quantize(network, Scheme(4, 8)).train()
    steps = {
        "FP32": stepping.training_step(network, batch),
        "FP32, compiled": stepping.training_step(network, batch, compiled=torch.compile),
        "FP32, bf16": stepping.training_step(network, batch, bf16=True),
        "edgeq": stepping.training_step(quantized, batch),
        "edgeq, compiled": stepping.training_step(quantized, batch, compiled=compiled),
        "edgeq, bf16": stepping.training_step(quantized, batch, bf16=True),
        "edgeq, bf16, compiled": stepping.training_step(
            quantized, batch, compiled=compiled, bf16=True
        ),
    }
    print("edgeq", file=sys.stderr, flush=True)
    taken = stepping.take_turns(steps, rounds)
    compared = [(name, "FP32") for name in steps if name != "FP32"] + [
        ("edgeq, compiled", "FP32, compiled"),
        ("edgeq, bf16", "FP32, bf16"),
    ]
    return [row(own, beside, taken[own], taken[beside]) for own, beside in compared]


def _peer(peer: Peer, arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Its rows, and what it could not do."""
    print(peer.name, file=sys.stderr, flush=True)
    given = {
        "source": str(SOURCE),
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
    }
    try:
        found: Any = peer.run(**given, compiled=not arguments.peers_eager)
    except PeerError as error:
        return [], [f"{peer.name} fails: {error}"]
    times = found["times"]
    rows = [row(peer.name, "FP32", times["qat"], times["fp32"])]
    if "qat compiled" in times:
        rows += [row(f"{peer.name}, compiled", "FP32", times["qat compiled"], times["fp32"])]
        rows += [
            row(
                f"{peer.name}, compiled",
                "FP32, compiled",
                times["qat compiled"],
                times["fp32 compiled"],
            )
        ]
    return rows, [f"{peer.name} does not compile: {found['failure']}"] if found["failure"] else []


if __name__ == "__main__":
    run(main)
