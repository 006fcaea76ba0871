"""A comparison measured in parts, on several machines or one after the other.

A shard is a run of whole batches. What all stages compute for it is one file in a folder; a
comparison that is given the folder judges the batches of all shards in their order, as if it had
computed them itself: every figure, of any task or metric, has the bits of one run.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeq
from edgeq.data.checks import check
from edgeq.data.splitting import limited
from edgeq.deploy.evaluation.failures import StagesFailed, told
from edgeq.deploy.evaluation.open_sizes import OpenSizes
from edgeq.deploy.evaluation.outputs.evaluation_data import EvaluationData
from edgeq.deploy.evaluation.stage_runner import (
    BATCH,
    TENSOR_SAMPLES,
    StageOutput,
    open_all,
    run_all,
)
from edgeq.deploy.pipeline.shards import Shard, count_in, require_all
from edgeq.errors import ArtefactError
from edgeq.files import sha256_of, whole_file
from edgeq.quant import QuantizedTensor, QuantParams
from edgeq.targets.workers.wire import BrokenFrame, Frame, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.evaluation.stage_runner import Opened

SUFFIX = ".outputs"
SCHEMA = "edgeq.outputs/1"
_BROKEN = (
    *(BrokenFrame, EOFError, OSError, KeyError, TypeError, ValueError),
    *(IndexError, StopIteration),
)


@dataclass(frozen=True, slots=True)
class ComparisonJob:
    """What a comparison runs; all that the outputs of its stages depend on.

    Attributes:
        pairs: the stages, the reference first.
        source: the data.
        split: which part of it.
        limit: how many samples, spread evenly; None for all.
        threads: the most threads a runtime may use.
        tensors: whether tensors inside are read too.
    """

    pairs: Sequence[Pair]
    source: DataSource
    split: str
    limit: int | None
    threads: int
    tensors: bool

    def part(self, shard: Shard) -> tuple[Split, int]:
        """The samples of a shard, and the number of the first of them.

        Raises:
            UsageError: there are fewer batches than shards, or no samples.
        """
        whole: Split = getattr(limited(self.source, self.split, self.limit), self.split)
        first, last = shard.batches(-(-len(whole) // BATCH), BATCH)
        return whole.take(np.arange(first * BATCH, min(last * BATCH, len(whole)))), first * BATCH

    def about(self, shard: Shard) -> dict[str, Any]:
        """What stands at the head of a shard's file."""
        part, first = self.part(shard)
        return {
            "schema": SCHEMA,
            "edgeq version": edgeq.__version__,
            "stages": [[sha256_of(pair.artefact), pair.target] for pair in self.pairs],
            "threads": self.threads,
            "tensors": self.tensors,
            "samples": [first, len(part)],
            "data": EvaluationData.of(self.source, self.split, part).to_dict(),
        }


def measure(
    job: ComparisonJob,
    shard: Shard,
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Path, int]:
    """Run all stages on one shard, and keep what they compute in a folder.

    Args:
        job: the whole comparison.
        shard: which part of it.
        folder: where the files of all shards are kept.
        progress: called with the samples done and the samples of the shard.

    Returns:
        The file, and the number of samples it is about.

    Raises:
        UsageError: there are fewer batches than shards, or no samples.
        EdgeqError: that of the first stage that fails.
        OutputError: the file cannot be written.
    """
    part, first = job.part(shard)
    check(part, job.source.preprocessing)
    about = job.about(shard)
    inside = max(TENSOR_SAMPLES - first, 0) if job.tensors else 0
    path, done = shard.file(folder, SUFFIX), 0
    with ExitStack() as stack, failures_told():
        file = stack.enter_context(whole_file(path))
        opened = open_all(
            job.pairs,
            stack,
            threads=job.threads,
            tensors=job.tensors,
            sizes=OpenSizes(part, job.source, stack),
        )
        digest = hashlib.sha256()
        _write(file, digest, about)
        for _, seen in run_all(opened, part, job.source, tensor_samples=inside):
            for one in seen:
                _write(file, digest, *_packed(one))
            done += len(seen[0].output)
            progress(done, len(part))
        file.write(digest.digest())
    return path, len(part)


def recorded(
    job: ComparisonJob, folder: Path, opened: Sequence[Opened]
) -> Iterator[tuple[None, list[StageOutput]]]:
    """What was kept of all shards in a folder, batch by batch.

    Raises:
        ArtefactError: a shard is missing, broken, or of another comparison.
    """
    count = count_in(folder, SUFFIX)
    shards = [Shard(number, count) for number in range(1, count + 1)]
    missing = [
        f"{each.number}/{count}" for each in shards if not each.file(folder, SUFFIX).exists()
    ]
    require_all(folder, missing, count)
    for shard in shards:
        path = shard.file(folder, SUFFIX)
        try:
            with path.open("rb") as file:
                digest = hashlib.sha256()
                read = partial(_read, file, digest)
                _check(job.about(shard), unpack(read).header, path)
                batches = -(-len(job.part(shard)[0]) // BATCH)
                for _ in range(batches):
                    yield None, [_unpacked(unpack(read), stage) for stage in opened]
                if file.read() != digest.digest():
                    raise BrokenFrame("its checksum is another")
        except _BROKEN as error:
            raise ArtefactError(
                f"{path} is broken: {str(error) or 'it ends too early'}",
                hint=f"measure it again: --shard {shard.number}/{count}",
            ) from error


@contextmanager
def failures_told() -> Iterator[None]:
    """Around what runs stages none of which can be left out.

    Raises:
        EdgeqError: that of the first one that fails.
    """
    try:
        yield
    except StagesFailed as failed:
        raise told(next(iter(failed.errors.values()))) from failed


def _check(wanted: dict[str, Any], found: dict[str, Any], path: Path) -> None:
    """Raises ArtefactError where a shard is of another comparison; names what differs."""
    for name, value in json.loads(json.dumps(wanted)).items():
        if found.get(name) != value:
            raise ArtefactError(
                f"{path} was measured with another value of {name!r}",
                hint="give the files, targets, data and flags that all shards were measured with",
            )


def _write(
    file: IO[bytes],
    digest: hashlib._Hash,
    header: dict[str, Any],
    arrays: Sequence[NDArray[Any]] = (),
) -> None:
    for piece in pack(header, arrays):
        digest.update(piece)
        file.write(piece)


def _read(file: IO[bytes], digest: hashlib._Hash, size: int) -> bytes:
    piece = file.read(size)
    digest.update(piece)
    return piece


def _packed(one: StageOutput) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """A batch of a stage: names and grids, and the arrays of outputs, tensors and grids."""
    arrays: list[NDArray[Any]] = list(one.outputs.values())
    grids: list[tuple[str, Any]] = []
    for name, tensor in (one.tensors or {}).items():
        if isinstance(tensor, QuantizedTensor):
            grid = tensor.params
            grids.append((name, [grid.dtype, grid.qmin, grid.qmax, grid.axis]))
            arrays += [tensor.values, grid.scale, grid.zero_point]
        else:
            grids.append((name, None))
            arrays.append(tensor)
    read = None if one.tensors is None else grids
    return {"outputs": list(one.outputs), "tensors": read}, arrays


def _unpacked(frame: Frame, stage: Opened) -> StageOutput:
    """The inverse of :func:`_packed`."""
    arrays = iter(frame.arrays)
    outputs = {str(name): next(arrays) for name in frame.header["outputs"]}
    tensors: dict[str, QuantizedTensor | NDArray[np.float32]] | None = None
    if frame.header["tensors"] is not None:
        tensors = {}
        for name, grid in frame.header["tensors"]:
            values = next(arrays)
            tensors[name] = (
                values
                if grid is None
                else QuantizedTensor(values, QuantParams(next(arrays), next(arrays), *grid))
            )
    return StageOutput(outputs[stage.session.output.name], outputs, tensors)
