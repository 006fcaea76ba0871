"""Graphs of other tools that edgeq itself runs: apart the same numbers, and no crash gets out."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.support.models import onnx_models

from edgeq.deploy.cli import run
from edgeq.errors import TargetError
from edgeq.formats.onnx_session import Here, Opening, RuntimeFailed, open_graph
from edgeq.targets.isolation import VARIABLE, apart, graphs
from edgeq.targets.isolation.shared import Region
from edgeq.targets.workers.process import Limits, Worker
from edgeq.targets.workers.wire import BrokenFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NOT_OPTIMIZED = Opening(optimize=False)


@pytest.fixture(autouse=True)
def _asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that are started."""
    started: list[int] = []

    class Noted(Worker):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            started.append(self.pid)

    monkeypatch.setattr(graphs, "Worker", Noted)
    return started


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let graphs end the process that runs them."""
    monkeypatch.setattr(graphs, "_ENGINE", "tests.targets.isolation.ending_graphs")
    monkeypatch.setattr(graphs, "_SECONDS_PER_SAMPLE", 0.0)
    monkeypatch.setattr("edgeq.targets.isolation._RUN_SECONDS", 2.0)


def _foreign(path: Path, producer: str = "another tool", batch: int | str = "N") -> Path:
    model = onnx_models.float_model(batch=batch)
    model.producer_name = producer
    return onnx_models.save(model, path)


def _data(path: Path, samples: int = 24) -> Path:
    np.savez(path, images=onnx_models.images(samples), labels=np.arange(samples) % 10)
    return path


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_is_calibrated_is_the_same_apart_and_in_one_process(
    tmp_path: Path, workers: list[int]
) -> None:
    file, data = _foreign(tmp_path / "net.onnx"), _data(tmp_path / "data.npz")
    words = ["calibrate", str(file), "--data", str(data), "--method", "bias-correction"]
    for name, more in (("apart", []), ("here", ["--in-process"])):
        assert run([*words, "-o", str(tmp_path / f"{name}.onnx"), *more]) == 0
    assert (tmp_path / "apart.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()
    assert len(workers) == 1
    assert _is_gone(workers[0])


def test_a_network_of_ours_starts_no_process(tmp_path: Path, workers: list[int]) -> None:
    file = _foreign(tmp_path / "net.onnx", producer="edgeq")
    data = ["--data", str(_data(tmp_path / "data.npz"))]
    assert run(["calibrate", str(file), *data, "-o", str(tmp_path / "made.onnx")]) == 0
    assert workers == []


@pytest.mark.parametrize("command", ["calibrate", "search", "export"])
@pytest.mark.usefixtures("ending")
def test_what_crashes_the_runtime_is_told_and_leaves_nothing(
    tmp_path: Path, workers: list[int], capfd: pytest.CaptureFixture[str], command: str
) -> None:
    file, data = tmp_path / "net.onnx", str(_data(tmp_path / "data.npz"))
    made = str(tmp_path / "made.onnx")
    more = ["--data", data, *(["-o", made] if command == "calibrate" else [])]
    if command == "export":
        model = onnx_models.qdq_model()
        model.producer_name = "crash"
        onnx_models.save(model, file)
        more = ["--verify", data, "-o", made, "--to", "tflite", "--allow-float"]
    else:
        _foreign(file, producer="crash")
    before = sorted(tmp_path.iterdir())
    assert run([command, str(file), *more]) == TargetError.exit_code
    said = capfd.readouterr().err
    assert "the graph of the file (ONNX Runtime) was killed by SIGSEGV" in said
    assert sorted(tmp_path.iterdir()) == before
    assert all(map(_is_gone, workers))


@pytest.mark.parametrize(
    ("what", "told"), [("hang", "did not answer within 2 s"), ("memory", "ran out of memory")]
)
@pytest.mark.usefixtures("ending")
def test_so_is_what_hangs_or_takes_all_memory(workers: list[int], what: str, told: str) -> None:
    model = onnx_models.float_model()
    model.producer_name = what
    with apart():
        graph = open_graph(model.SerializeToString(), _NOT_OPTIMIZED, ours=False)
        with pytest.raises(TargetError, match=told):
            graph.run((), {"input": onnx_models.images(1)})
        assert all(map(_is_gone, workers))


@pytest.mark.usefixtures("ending")
def test_after_a_process_that_ended_there_is_another(workers: list[int]) -> None:
    sound, crashing = onnx_models.float_model(), onnx_models.float_model()
    crashing.producer_name = "crash"
    fed = {"input": onnx_models.images(1)}
    with apart():
        ended = open_graph(crashing.SerializeToString(), _NOT_OPTIMIZED, ours=False)
        for _ in range(2):
            with pytest.raises(TargetError, match="SIGSEGV"):
                ended.run((), fed)
        open_graph(sound.SerializeToString(), _NOT_OPTIMIZED, ours=False).run((), fed)
    assert len(workers) == 2
    assert all(map(_is_gone, workers))


def test_several_threads_and_graphs_are_answered_side_by_side() -> None:
    models = [onnx_models.float_model(batch="N", seed=seed).SerializeToString() for seed in (0, 1)]
    given = [{"input": onnx_models.images(count, seed=count)} for count in range(1, 25)]
    with apart(), ThreadPoolExecutor(4) as pool:
        there = [open_graph(model, _NOT_OPTIMIZED, ours=False) for model in models]
        here = [Here(model, _NOT_OPTIMIZED) for model in models]
        assert there[0].entries == here[0].entries
        for other, own in zip(there, here, strict=True):
            found = list(pool.map(lambda fed, graph=other: graph.run((), fed), given))
            for fed, (answer, *rest) in zip(given, found, strict=True):
                assert rest == []
                assert np.array_equal(answer, own.run((), fed)[0])


def test_a_forked_process_shares_no_graph() -> None:
    given = {"input": onnx_models.images(1)}
    with apart():
        content = onnx_models.float_model(batch="N").SerializeToString()
        graph = open_graph(content, _NOT_OPTIMIZED, ours=False)

        def in_the_other() -> None:
            with pytest.raises(TargetError, match="before a fork"):
                graph.run((), given)

        other = multiprocessing.get_context("fork").Process(target=in_the_other)
        other.start()
        other.join()
        assert other.exitcode == 0
        assert graph.run((), given)[0].shape[0] == 1


def test_large_answers_stay_what_they_were_as_long_as_somebody_has_them() -> None:
    """They are read where the process wrote them, and later ones are written elsewhere."""
    shape: list[str | int | None] = ["N", 2**18]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    made = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with apart():
        graph = open_graph(model.SerializeToString(), Opening(), ours=False)
        kept = [
            graph.run(("y",), {"x": np.full((1, 2**18), number, np.float32)})[0][:, ::2]
            for number in range(graphs._MOST_LENT + 4)
        ]
        for number in range(20):
            passing = graph.run(("y",), {"x": np.full((2, 2**18), number, np.float32)})
            assert (passing[0] == -number).all()
    assert [float(each.min()) for each in kept] == [-number for number in range(len(kept))]
    assert [float(each.max()) for each in kept] == [-number for number in range(len(kept))]


def test_what_the_runtime_refuses_is_in_its_words() -> None:
    model = onnx_models.float_model()
    with apart():
        graph = open_graph(model.SerializeToString(), Opening(), ours=False)
        with pytest.raises(RuntimeFailed, match="input"):
            graph.run((), {"input": np.zeros((1, 2), np.float32)})
        assert graph.run((), {"input": onnx_models.images(1)})[0].shape == (1, 10)
        model.graph.node[0].op_type = "NoSuchOperator"
        with pytest.raises(RuntimeFailed, match="NoSuchOperator"):
            open_graph(model.SerializeToString(), Opening(), ours=False)


def test_arrays_of_every_kind_come_back_as_they_were() -> None:
    arrays: list[Any] = [
        np.zeros((3, 0), np.int8),
        np.array(7, np.int64),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.array([True, False]),
        np.arange(2**19, dtype=np.float64),
    ]
    region = Region.new()
    other = Region(os.dup(region.descriptor))
    for some in (arrays[:2], arrays, arrays[2:4], []):
        for found, array in zip(other.get(region.put(some)), some, strict=True):
            assert found.dtype == array.dtype
            assert np.array_equal(found, array)
    with pytest.raises(BrokenFrame, match="cannot be sent"):
        region.put([np.array(["text"])])
    region.close()
    other.close()


@pytest.mark.parametrize(
    "listed",
    [
        [["float32", [2**40], 0]],
        [["float32", [2**31, 2**31, 2**31], 0]],
        [["float32", [-1], 0]],
        [["float32", [1], -4]],
        [["float32", [1], 2]],
        [["float32", [1.5], 0]],
        [["float32", "12", 0]],
        [["object", [1], 0]],
        [["no such type", [1], 0]],
        [["9" * 5000, [1], 0]],
        [[[], [1], 0]],
        [["float32", {}, 0]],
        [[]],
        7,
    ],
    ids=lambda listed: str(listed)[:30],
)
def test_arrays_that_cannot_lie_there_are_refused(listed: Any) -> None:
    region = Region.new()
    region.put([np.zeros(4, np.float32)])
    with pytest.raises(BrokenFrame):
        region.get(listed)
    region.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda worker: {"ok": True, "made": [["float32", [2**40], 0]]},
        lambda worker: {"ok": None},
    ],
)
def test_a_process_that_lies_is_ended(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], Any]
) -> None:
    with apart():
        content = onnx_models.float_model().SerializeToString()
        graph = open_graph(content, _NOT_OPTIMIZED, ours=False)
        monkeypatch.setattr(graphs, "receive", answer)
        with pytest.raises(TargetError):
            graph.run((), {"input": onnx_models.images(1)})


def test_a_process_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_ENGINE", "tests.targets.isolation.no_such_engine")
    opener = graphs.Apart(Limits(open_seconds=30))
    with pytest.raises(TargetError, match="before it began"):
        opener(onnx.ModelProto().SerializeToString(), Opening())
    opener.close()


def test_any_shape_goes_there_and_back() -> None:
    """A number alone, nothing at all, and a first axis that is none of samples."""
    nodes = [
        helper.make_node("Identity", ["x"], ["y"]),
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "most")
    ]
    graph = helper.make_graph(nodes, "g", [x], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    with apart():
        there = open_graph(content, Opening(), ours=False)
        for shape in ((2, 3), (300_000, 2), (1, 1)):
            fed = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
            for one, other in zip(
                there.run((), fed), Here(content, Opening()).run((), fed), strict=True
            ):
                assert one.shape == other.shape
                assert np.array_equal(one, other)
