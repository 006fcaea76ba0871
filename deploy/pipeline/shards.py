"""A calibration measured in parts, on several machines or one after the other.

A shard is a run of whole batches. Its statistics are one file in a folder; a calibration that is
given the folder puts all of them together, to the bytes that one run writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.pipeline.calibrate import BATCH, adding_up
from edgeq.errors import ArtefactError, UsageError
from edgeq.files import keeping, read_bytes
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeq.calibration.statistics import Statistics
    from edgeq.deploy.pipeline.calibrate import Job

_LIMIT = 2**30
_NAMED = 8  # shards that a message names


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of several.

    Attributes:
        number: which one, from 1.
        count: how many there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, typed: str) -> Shard:
        """A shard as it is typed: ``3/16``.

        Raises:
            UsageError: it is none.
        """
        number, _, count = typed.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UsageError(
                f"{typed!r} is no shard", hint="write 3/16 for the third of sixteen shards"
            )
        return cls(int(number), int(count))

    def file(self, folder: Path, suffix: str = ".safetensors") -> Path:
        """Where what was measured in it is kept."""
        return folder / f"{self.number}-of-{self.count}{suffix}"

    def batches(self, total: int, size: int = BATCH) -> tuple[int, int]:
        """The number of its first batch, and that behind its last.

        Args:
            total: batches of all shards.
            size: samples of a batch.

        Raises:
            UsageError: there are fewer batches than shards.
        """
        if self.count > total:
            raise UsageError(
                f"the samples come to {counted(total, 'batch')} of {size}, too few for "
                f"{self.count} shards",
                hint=f"choose {counted(total, 'shard')} at most, or more samples",
            )
        return (self.number - 1) * total // self.count, self.number * total // self.count


def measure(
    job: Job,
    shard: Shard,
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    tell: Callable[[str], None] = lambda _line: None,
) -> tuple[Path, int]:
    """Measure one shard, and keep what was seen in a folder.

    After an interruption the same call goes on with the batches that are left.

    Args:
        job: the whole calibration.
        shard: which part of it.
        folder: where the files of all shards are kept.
        progress: called with the samples done and the samples of the shard.
        tell: called with what a person should know.

    Returns:
        The file, and the number of samples it is about.

    Raises:
        ArtefactError: the network is broken or does not fit the data.
        UsageError: there are fewer batches than shards, or the observer's statistics cannot be
            kept.
        OutputError: the file cannot be written.
    """
    from edgeq.calibration.quantize import measure_onnx
    from edgeq.calibration.statistics.resume import Progress

    job.check_samples()
    if job.skip_broken and (lost := job.broken()):
        tell(lost)
    total = _total(job)
    first, last = shard.batches(total)
    path = shard.file(folder)
    samples = min(last * BATCH, len(job.chosen)) - first * BATCH
    measured = Progress(path, total=total, tell=tell)
    with keeping(path, "the same command goes on from there", measured.kept):
        measure_onnx(
            job.model(),
            job.batches(first, last),
            next(job.batches(0, 1)),
            job.config,
            data=job.source.name,
            first=first,
            seen=adding_up(progress, samples),
            progress=measured,
        )
    return path, samples


def gathered(job: Job, folder: Path) -> Statistics:
    """The statistics of all shards in a folder, as one.

    Raises:
        ArtefactError: some are missing, broken, unfinished, or of different calibrations.
    """
    from edgeq.calibration.statistics import merged
    from edgeq.calibration.statistics.file import from_bytes

    make, count = job.config.observer_factory(), count_in(folder)
    parts: list[Statistics] = []
    left: list[str] = []
    for number in range(1, count + 1):
        shard = Shard(number, count)
        path = shard.file(folder)
        if path.exists():
            content = read_bytes(path, "statistics", limit=_LIMIT)
            found = from_bytes(content, make, path, measured_by=job.config.found_by)
            if found.total not in (None, _total(job)):
                raise ArtefactError(
                    f"{path} is one of {counted(found.total, 'batch')} of {BATCH} "
                    f"samples, and this calibration has {_total(job)}",
                    hint="give the --samples, the data and the --skip-broken that it was measured "
                    "with",
                )
            parts.append(found.statistics)
        if not path.exists() or parts[-1].last < shard.batches(_total(job))[1]:
            left.append(f"{number}/{count}")
    require_all(folder, left, count)
    return merged(parts)


def count_in(folder: Path, suffix: str = ".safetensors") -> int:
    """How many shards those are part of that a folder holds.

    Raises:
        ArtefactError: it holds none, or some of several divisions.
    """
    pattern = re.compile(rf"[1-9][0-9]{{0,8}}-of-([1-9][0-9]{{0,8}}){re.escape(suffix)}")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    counts = {found[1] for found in map(pattern.fullmatch, names) if found}
    if not counts:
        raise ArtefactError(
            f"{folder} holds no statistics", hint="measure them first: --shard 1/4, and so on"
        )
    if len(counts) > 1:
        raise ArtefactError(
            f"{folder} holds shards of {' and of '.join(sorted(counts))}",
            hint="keep the shards of each measurement in a folder of their own",
        )
    return int(counts.pop())


def require_all(folder: Path, left: Sequence[str], count: int) -> None:
    """Return where no shard is left to measure.

    Raises:
        ArtefactError: some are; names the first of them.
    """
    if left:
        raise ArtefactError(
            f"{folder} lacks {counted(len(left), 'shard', of=count)}, or they were not finished: "
            f"{', '.join(left[:_NAMED])}{' …' if len(left) > _NAMED else ''}",
            hint=f"measure them with --shard {left[0]}",
        )


def _total(job: Job) -> int:
    return -(-len(job.chosen) // BATCH)
