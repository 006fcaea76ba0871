"""What a sweep costs beside bare processes that do the same work.

    python -m benchmarks.sweep --cells 60 --seconds 1
    python -m benchmarks.sweep --cells 60 --seconds 1 --engine ray

A cell waits, so that other programs on the machine change little. Efficiency is the time of a bare
pool of two processes by that of the sweep, both with their start; the cost of a cell is what the
sweep takes beyond the pool, of one process, by cells.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from edgeq.deploy.sweep.engines.local import LocalEngine
from edgeq.deploy.sweep.engines.ray_tasks import RayEngine
from edgeq.deploy.sweep.plan import read_sweep
from edgeq.deploy.sweep.run import run_sweep

PROCESSES = 2
FUNCTION = "benchmarks.sweep:wait"
SWEEP = """
[grid]
number = {numbers}
seconds = {seconds}
[cell]
function = "{function}"
memory_gib = 0.1
"""


def wait(number: int, seconds: float) -> dict[str, float]:
    """A cell."""
    time.sleep(seconds)
    return {"number": number}


def _bare(cells: int, seconds: float) -> float:
    began = time.monotonic()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(wait, range(cells), [seconds] * cells))
    return time.monotonic() - began


def _swept(cells: int, seconds: float, engine: LocalEngine | RayEngine) -> float:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "sweep.toml"
        numbers = list(range(cells))
        path.write_text(SWEEP.format(numbers=numbers, seconds=seconds, function=FUNCTION))
        began = time.monotonic()
        found = run_sweep(read_sweep(path), Path(name) / "out", engine, code=[FUNCTION])
        taken = time.monotonic() - began
    if found.computed != cells:
        raise SystemExit(f"{cells - found.computed} cells are missing: {found.failures[:1]}")
    return taken


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    bare = _bare(asked.cells, asked.seconds)
    engine = LocalEngine(PROCESSES) if asked.engine == "local" else RayEngine()
    swept = _swept(asked.cells, asked.seconds, engine)
    cost = 1000 * PROCESSES * (swept - bare) / asked.cells
    print(
        f"{asked.cells} cells of {asked.seconds:g} s, load {load:.1f}: bare {bare:.2f} s, "
        f"{asked.engine} {swept:.2f} s, efficiency {bare / swept:.3f}, {cost:.1f} ms a cell"
    )


if __name__ == "__main__":
    main()
