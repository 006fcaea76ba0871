"""What is measured in parts comes to the bits of one run, or is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.damage.test_corrupted import small_model
from tests.support.runtimes import fake_targets

from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import Pair, chain
from edgeq.deploy.evaluation.compare import Observed, compare, ordered
from edgeq.deploy.evaluation.sharded import ComparisonJob, measure
from edgeq.deploy.inputs import load_data
from edgeq.deploy.pipeline.shards import Shard
from edgeq.errors import ArtefactError, TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource

BATCHES = 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Pair], DataSource, Observed]:
    """Stages on real runtimes, data of some batches, and what one run finds."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "net.onnx"
    path.write_bytes(small_model().SerializeToString())
    random = np.random.default_rng(0)
    images = random.normal(size=(8 * BATCHES - 3, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", images=images, labels=np.arange(len(images)) % 5)
    source = load_data(str(folder / "data.npz"), None, None, [path])
    pairs = ordered(chain([path], ["ort-cpu-ref", "ort-cpu"]), None)
    return pairs, source, compare(pairs, source, resamples=3)


def arrays(found: Observed) -> list[bytes]:
    """The bits of all that is kept of single samples and resamples."""
    kept: list[NDArray[Any]] = [*found.answers.values(), *found.outputs.values()]
    drawn = [array for figures in found.resampled.values() for array in figures.values()]
    return [array.tobytes() for array in (*kept, *drawn)]


@settings(max_examples=3)
@given(order=st.integers(1, BATCHES).flatmap(lambda count: st.permutations(range(1, count + 1))))
def test_any_division_in_any_order_has_the_bits_of_one_run(
    whole: tuple[list[Pair], DataSource, Observed],
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
) -> None:
    pairs, source, once = whole
    job, folder = (
        ComparisonJob(pairs, source, "test", None, 1, tensors=True),
        tmp_path_factory.mktemp("x"),
    )
    seen = [measure(job, Shard(number, len(order)), folder)[1] for number in order]
    assert sum(seen) == len(source.test)
    found = compare(pairs, source, resamples=3, statistics=folder)
    assert found.comparison == once.comparison
    assert arrays(found) == arrays(once)


class TestRefusals:
    @pytest.fixture
    def job(self, fakes: dict[str, fake_targets.FakeTarget], tmp_path: Path) -> ComparisonJob:
        pairs = chain(
            [fake_targets.artefact(tmp_path, "onnx", wrong=3)], ["ort-cpu-ref", "ort-cpu"]
        )
        return ComparisonJob(
            ordered(pairs, None), fake_targets.source(), "test", None, 1, tensors=True
        )

    def merged(self, job: ComparisonJob, folder: Path) -> Observed:
        return compare(
            job.pairs, job.source, threads=job.threads, statistics=folder, limit=job.limit
        )

    def test_a_missing_part_is_named(self, job: ComparisonJob, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="holds no statistics"):
            self.merged(job, tmp_path / "none")
        measure(job, Shard(1, 3), tmp_path)
        measure(job, Shard(3, 3), tmp_path)
        with pytest.raises(ArtefactError, match=r"(?s)lacks 1 of 3 shards.*--shard 2/3"):
            self.merged(job, tmp_path)
        measure(job, Shard(1, 2), tmp_path)
        with pytest.raises(ArtefactError, match="shards of 2 and of 3"):
            self.merged(job, tmp_path)

    @pytest.mark.parametrize("what", ["threads", "data", "stages"])
    def test_parts_of_another_comparison_are_named(
        self, job: ComparisonJob, tmp_path: Path, what: str
    ) -> None:
        others = {
            "threads": replace(job, threads=2),
            "data": replace(job, source=replace(job.source, classes=tuple("abcdefg"))),
            "stages": replace(job, pairs=job.pairs[:1]),
        }
        measure(others[what], Shard(1, 1), tmp_path)
        with pytest.raises(ArtefactError, match=f"another value of '{what}'"):
            self.merged(job, tmp_path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda _: b"",
            lambda b: b[:-3],
            lambda b: b[:200] + b"x" + b[201:],
            lambda b: b[:-40] + bytes([b[-40] ^ 1]) + b[-39:],  # of the last array
        ],
    )
    def test_a_damaged_part_is_named(
        self, job: ComparisonJob, tmp_path: Path, change: Callable[[bytes], bytes]
    ) -> None:
        path, _ = measure(job, Shard(1, 1), tmp_path)
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(ArtefactError, match=r"is broken: \w|another value"):
            self.merged(job, tmp_path)

    def test_more_parts_than_batches_are_refused(self, job: ComparisonJob, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="too few for 6 shards"):
            measure(job, Shard(6, 6), tmp_path)

    def test_a_stage_that_fails_leaves_no_part(
        self, job: ComparisonJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise TargetError("it broke", hint="repair it")

        monkeypatch.setattr(fake_targets.FakeSession, "run_all", fail)
        with pytest.raises(TargetError, match="it broke"):
            measure(job, Shard(1, 1), tmp_path / "parts")
        assert not list((tmp_path / "parts").iterdir())


def test_the_command(
    whole: tuple[list[Pair], DataSource, Observed],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs, source, once = whole
    path = pairs[0].artefact
    words = ["compare", str(path), "--data", str(path.with_name("data.npz")), "--json"]
    words += ["--target", "ort-cpu-ref,ort-cpu"]
    assert run([*words, "--shard", "1/1"]) == 2
    assert "--statistics" in capsys.readouterr().err
    assert run([*words, "--shard", "1/1", "--statistics", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == len(source.test)
    assert run([*words, "--statistics", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)["comparison"]
    assert told["samples"] == once.comparison.samples
    assert [each["changed"] for each in told["stages"]] == [
        each.changed for each in once.comparison.stages
    ]
