"""How often the interval of a ratio of latencies holds the truth, on paper and on a loaded machine.

    python -m benchmarks.ratio_intervals [--series 2000] [--runs 100] [--seconds 3] [--load 2]

First on series whose ratio is known: noise, preemptions, rounds that resemble each other, a machine
that slows down meanwhile. Then on ONNX Runtime, beside processes that keep the machine busy: two
sessions of one file, whose ratio is 1, and a network of 40 equal layers against one of 44, which
takes 10 % longer.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.support.command import run
from edgeq.errors import Inconclusive
from edgeq.machine import fingerprint
from edgeq.target import TARGETS, Session
from edgeq.timing import Latency, processor_ratio, ratio
from edgeq.timing.measuring import measure_openings
from edgeq.timing.ratios import Ratio, paired_ratio

WIDTH, LAYERS, MORE = 128, 40, 44
PAIRS = {"same": "one file twice", "slower": f"{MORE} layers against {LAYERS}"}
Series = Callable[[np.random.Generator, int], NDArray[np.float64]]


def main() -> None:
    """Count and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000, help="of each kind and length")
    parser.add_argument("--runs", type=int, default=100, help="measurements of each pair")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each session of a run")
    parser.add_argument("--pair", choices=("both", *PAIRS), default="both", help="of files")
    parser.add_argument("--load", type=int, default=2, help="processes that keep the machine busy")
    arguments = parser.parse_args()
    if arguments.series:
        _simulated(arguments.series)
    if arguments.runs:
        with _busy(arguments.load), tempfile.TemporaryDirectory() as folder:
            asked = list(PAIRS) if arguments.pair == "both" else [arguments.pair]
            _measured(Path(folder), asked, arguments.runs, arguments.seconds, arguments.load)


def quiet(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """Independent noise of 3 %."""
    return random.normal(0, 0.03, rounds)


def preempted(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """A fifth of the blocks waited for a processor, for up to several times their length."""
    return quiet(random, rounds) + waits(random, rounds)


def waits(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """Of a fifth of the blocks."""
    return np.where(random.random(rounds) < 0.2, random.exponential(1, rounds), 0.0)


def resembling(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """Noise of which half stays from one round to the next."""
    found = random.normal(0, 0.03, rounds)
    for i in range(1, rounds):
        found[i] = 0.5 * found[i - 1] + math.sqrt(0.75) * found[i]
    return found


def both(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """Such noise, and such waits."""
    return resembling(random, rounds) + waits(random, rounds)


def _simulated(series: int) -> None:
    print("| series | rounds | intervals that hold the ratio, % | slowdowns of 10 % found, % |")
    print("|---|---|---|---|")
    kinds: tuple[Series, ...] = (quiet, preempted, resembling, both)
    for kind in kinds:
        for rounds in (30, 60, 150):
            random = np.random.default_rng(0)
            found = [_planted(kind, random, rounds, 1.1) for _ in range(series)]
            held = np.mean([one.low <= 1.1 <= one.high for one in found])
            seen = np.mean([one.low > 1 for one in found])
            print(f"| {kind.__name__} | {rounds} | {held:.1%} | {seen:.1%} |", flush=True)


def _planted(kind: Series, random: np.random.Generator, rounds: int, times: float) -> Ratio:
    """The ratio of two series of a machine that slows down by half and hiccups for both."""
    pace = np.linspace(0, 0.4, rounds) + 0.2 * np.sin(np.arange(rounds) / 7)
    first, second = (np.exp(pace + kind(random, rounds)) for _ in range(2))
    return paired_ratio(times * first, second)


def _measured(folder: Path, asked: list[str], runs: int, seconds: float, load: int) -> None:
    path, slower = (_network(folder / f"{layers}.onnx", layers) for layers in (LAYERS, MORE))
    print(
        f"\n{fingerprint().cpu}, {load} busy processes on {os.cpu_count()} cores, load average "
        f"{os.getloadavg()[0]:.1f}; {runs} runs of {seconds:g} s a session\n"
    )
    print("| pair | by | of runs | holds 1 | slower | faster | median ratio | median width |")
    print("|---|---|---|---|---|---|---|---|")
    for pair in asked:
        name, other = PAIRS[pair], slower if pair == "slower" else path
        taken = [_once(other, path, seconds) for _ in range(runs)]
        for by, of in (("clock", ratio), ("processor time", processor_ratio)):
            ratios = [found for one in taken if (found := _or_none(of, one)) is not None]
            cells = (
                f"{len(ratios)} of {runs}",
                f"{np.mean([not one.differs for one in ratios]):.0%}",
                f"{np.mean([one.low > 1 for one in ratios]):.0%}",
                f"{np.mean([one.high < 1 for one in ratios]):.0%}",
                f"{np.median([one.value for one in ratios]):.3f}",
                f"{np.median([one.high - one.low for one in ratios]):.3f}",
            )
            print(f"| {name} | {by} | {' | '.join(cells)} |", flush=True)
        held = np.mean([first.trust.clock for first, _ in taken])
        print(f"| {name} | percentiles trusted: {held:.0%} | | | | | | |", flush=True)


def _or_none(
    of: Callable[[Latency, Latency], Ratio | None], taken: tuple[Latency, Latency]
) -> Ratio | None:
    try:
        return of(*taken)
    except Inconclusive:
        return None


def _once(first: Path, second: Path, seconds: float) -> tuple[Latency, Latency]:
    """Both, opened in one order and then in the other, as ``edgeq profile`` does."""
    target, sample = TARGETS.load("ort-cpu"), np.ones((1, WIDTH), np.float32)
    files = {"first": first, "second": second}

    @contextmanager
    def opening(names: list[str]) -> Iterator[dict[str, Session]]:
        with ExitStack() as stack:
            sessions = {name: stack.enter_context(target.open(files[name])) for name in names}
            for session in sessions.values():
                session.prepare(sample)
            yield sessions

    names = list(files)
    taken = measure_openings([opening(names), opening(names[::-1])], seconds=seconds)
    return taken["first"], taken["second"]


def _network(path: Path, layers: int) -> Path:
    """So many equal layers of products."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], f"layer{i}")
        for i in range(layers)
    ]
    weights = [
        numpy_helper.from_array(
            (random.standard_normal((WIDTH, WIDTH)) / math.sqrt(WIDTH)).astype(np.float32), f"w{i}"
        )
        for i in range(layers)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH])
        for name in ("x0", f"x{layers}")
    ]
    graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Keep so many processes busy."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _spin() -> None:
    """Work now and then, as programs do: an even load would slow everything alike."""
    random = np.random.default_rng(os.getpid())
    values = random.standard_normal((64, 64))
    while True:
        for _ in range(int(random.integers(1, 2000))):
            values = np.tanh(values @ values.T / 64)
        multiprocessing.Event().wait(float(random.exponential(0.005)))


if __name__ == "__main__":
    run(main)
