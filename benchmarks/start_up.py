"""How long a person waits for ``edgeq --help``.

The best and the median of some runs, beside Python doing nothing.

python -m benchmarks.start_up
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from benchmarks.support.command import run

RUNS = 11


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, arguments in (
        ("python -c pass", ["-c", "pass"]),
        ("edgeq --help", ["-m", "edgeq", "--help"]),
    ):
        taken = [_seconds(arguments) for _ in range(RUNS)]
        print(
            f"{name:16s} best {min(taken):.3f} s, median {statistics.median(taken):.3f} s "
            f"of {RUNS} runs"
        )


def _seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    run(main)
