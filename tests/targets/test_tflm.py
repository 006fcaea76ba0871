"""TensorFlow Lite Micro.

Its arena, what it refuses, and its answers, which are the reference kernels' but for three kernels.

Seen over all files that the exporters' tests write: every operator gives LiteRT's integers on equal
inputs, except FULLY_CONNECTED and MUL. The tests below hold each difference against the arithmetic
that explains it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tests.exporters.tflite import test_operators, test_sixteen_bits
from tests.exporters.tflite.ops import (
    test_elementwise,
    test_int4_weights,
    test_pointwise,
    test_pooling,
    test_shape,
)
from tests.support.models import tflite_models, zoo_models
from tests.support.models.qdq_models import S8, Graph

from edgeq.deploy.evaluation.audit import audit
from edgeq.errors import ArtefactError, TargetError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.dialect import TFLM
from edgeq.formats.tflite_file import graph_of
from edgeq.numerics.multipliers import dense_multipliers, product_multiplier, quantize_multiplier
from edgeq.quant import QuantizedTensor, QuantParams
from edgeq.target import TARGETS
from edgeq.targets import tflite
from edgeq.targets.tflm import TflmTarget, tflm
from edgeq.targets.workers.engines import tflm as tflm_engine
from edgeq.targets.workers.engines.tflm import Engine
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.wire import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.formats.tflite_file import FileOperator
    from edgeq.numerics.multipliers import Multiplier

pytest.importorskip("tflite_micro")

CASES: dict[str, Callable[[], Iterator[Graph]]] = {
    "operators": lambda: (build() for build, _ in test_operators.CASES.values()),
    "pooling": lambda: (graph for graph, _ in test_pooling.CASES.values()),
    "elementwise": lambda: (graph for graph, _ in test_elementwise.CASES.values()),
    "sixteen bits": lambda: (build() for build in test_sixteen_bits.CASES.values()),
    "pointwise": lambda: (graph for graph, _ in test_pointwise.CASES.values()),
    "shape": lambda: map(test_shape.built, test_shape.CASES),
}
DEEP = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("resnet20", "stable-resnet20", "resnet56", "stable-resnet56")
]


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return path


def written(graph: Graph) -> bytes:
    return exporter.export(graph.output(), ExportOptions()).content


@pytest.fixture
def _any_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run hundreds of models in one process, where the arena is not what is tested."""
    monkeypatch.setattr(tflm_engine, "_fits", lambda *_: True)


class Mismatch(NamedTuple):
    """An operator whose integers differ though its inputs are equal.

    The values that it reads, and both results.
    """

    operator: FileOperator
    sources: list[NDArray[np.int64]]
    litert: NDArray[np.int64]
    tflm: NDArray[np.int64]


def mismatches(
    content: bytes, samples: int = 4, images: NDArray[np.int8] | None = None
) -> list[Mismatch]:
    """Both interpreters on the same integers, random ones or images, tensor by tensor."""
    litert = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    litert.allocate_tensors()
    micro, rng, found = (
        Engine(content, {"intermediates": True})._interpreter,
        np.random.default_rng(0),
        list[Mismatch](),
    )
    for sample in range(samples):
        for i, detail in enumerate(litert.get_input_details()):
            ends = np.iinfo(detail["dtype"])
            values = rng.integers(ends.min, ends.max, detail["shape"], endpoint=True).astype(
                detail["dtype"]
            )
            values = values if images is None else images[sample : sample + 1]
            litert.set_tensor(detail["index"], values)
            micro.set_input(values, i)
        litert.invoke()
        micro.invoke()
        for operator in graph_of(content).operators:
            both = [
                (litert.get_tensor(t.index), micro.GetTensor(t.index, 0)["tensor_data"])
                for t in (operator.output, *_read(operator))
            ]
            (wanted, given), *sources = both
            if all(np.array_equal(a.ravel(), b.ravel()) for a, b in sources) and not np.array_equal(
                wanted.ravel(), given.ravel()
            ):
                exact = [a.astype(np.int64) for a, _ in sources]
                found.append(
                    Mismatch(
                        operator,
                        exact,
                        wanted.astype(np.int64),
                        given.reshape(wanted.shape).astype(np.int64),
                    )
                )
    return found


def _read(operator: FileOperator) -> list[Any]:
    return [tensor for tensor in operator.inputs if tensor is not None and tensor.data is None]


def once(value: int, by: Multiplier) -> int:
    """A factor of 31 bits, rounded once, ties up."""
    right = 31 - by.shift
    return (value * by.mantissa + (1 << (right - 1))) >> right


def twice(value: int, by: Multiplier) -> int:
    """Round to accumulator steps, then shift with rounding; ties away from zero in both."""
    product = (value << max(by.shift, 0)) * by.mantissa
    high = (
        (abs(product) + (1 << 30)) >> 31
        if product >= 0
        else -((abs(product) + (1 << 30) - 1) >> 31)
    )
    right = max(-by.shift, 0)
    return high if right == 0 else int(np.sign(high)) * ((abs(high) + (1 << (right - 1))) >> right)


def short(value: int, by: Multiplier) -> int:
    """A factor of 15 bits, rounded once."""
    mantissa = min((by.mantissa + (1 << 15)) >> 16, 2**15 - 1)
    right = 15 - by.shift
    return (value * mantissa + (1 << (right - 1))) >> right


def assert_explained(found: Mismatch) -> None:
    """Each difference is one between the kernels of LiteRT and TensorFlow Lite Micro."""
    assert found.operator.name in ("FULLY_CONNECTED", "MUL"), found.operator.name
    factors = _dense(found) if found.operator.name == "FULLY_CONNECTED" else _product(found)
    zero = int(found.operator.output.zero_point[0])
    for at in np.argwhere(found.litert != found.tflm):
        litert, micro = factors(tuple(at))
        assert (int(found.litert[tuple(at)]) - zero, int(found.tflm[tuple(at)]) - zero) == (
            litert,
            micro,
        )


def _dense(found: Mismatch) -> Callable[[tuple[int, ...]], tuple[int, int]]:
    """LiteRT rounds once; TensorFlow Lite Micro twice, with 15-bit multipliers at 16 bits."""
    x, weights, bias = (*found.operator.inputs, None)[:3]
    assert x is not None
    assert weights is not None
    assert weights.data is not None
    rows = found.sources[0].reshape(-1, weights.shape[1]) - x.zero_point[0]
    sums = rows @ weights.data.astype(np.int64).T + (
        0 if bias is None or bias.data is None else bias.data
    )
    by = dense_multipliers(x.scale[0], weights.scale, found.operator.output.scale[0])
    micro = short if x.kind == "INT16" else twice
    values = sums.reshape(found.litert.shape)

    def both(at: tuple[int, ...]) -> tuple[int, int]:
        factor = by[at[-1] % len(by)] if len(by) > 1 else by[0]
        return once(int(values[at]), factor), micro(int(values[at]), factor)

    return both


def _product(found: Mismatch) -> Callable[[tuple[int, ...]], tuple[int, int]]:
    """LiteRT computes the factor in float32, TensorFlow Lite Micro in float64."""
    a, b = (tensor for tensor in found.operator.inputs if tensor is not None)
    sources = iter(found.sources)
    first, second = (
        (next(sources) if t.data is None else t.data.astype(np.int64)) - t.zero_point[0]
        for t in (a, b)
    )
    values, out = (
        np.broadcast_to(first * second, found.litert.shape),
        found.operator.output.scale[0],
    )
    single = product_multiplier(a.scale[0], b.scale[0], out)
    double = quantize_multiplier(float(a.scale[0]) * float(b.scale[0]) / float(out))
    return lambda at: (twice(int(values[at]), single), twice(int(values[at]), double))


@pytest.mark.usefixtures("_any_arena")
@pytest.mark.parametrize("group", CASES)
def test_every_operator_gives_the_reference_integers_or_an_explained_difference(
    group: str,
) -> None:
    """Of the files that are written for it; it refuses those that cannot be, written for others."""
    seen = 0
    for graph in CASES[group]():
        try:
            content = exporter.export(graph.output(), ExportOptions(dialect=TFLM)).content
        except ArtefactError as error:
            assert "has no kernel for" in error.what  # noqa: PT017  # others are refused the same
            with pytest.raises(Refused):
                Engine(written(graph), {})
            continue
        for found in mismatches(content):
            assert_explained(found)
        seen += 1
    assert seen > 5


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (4, 4)], ids=["8W8A", "4W8A", "4W4A"])
@pytest.mark.parametrize("name", ["resnet8", "stable-resnet8", *DEEP])
def test_whole_networks_differ_in_the_classifier_alone(name: str, bits: tuple[int, int]) -> None:
    for found in mismatches(zoo_models.tflite(name, *bits), samples=8):
        assert found.operator.name == "FULLY_CONNECTED"
        assert np.abs(found.litert - found.tflm).max() == 1
        assert_explained(found)


def test_double_rounding_in_the_classifier_is_really_seen() -> None:
    """So that the tests above cannot pass by comparing nothing."""
    assert mismatches(zoo_models.tflite("resnet8", 4, 4), samples=100)


def test_weights_of_4_bits_give_the_integers_that_whole_bytes_give(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(0, 1, (3, 3, 32, 32)).astype(np.float32)
    answers = []
    for storage in ("int8", "int4"):
        with tflm.open(saved(tmp_path, zoo_models.tflite("resnet8", 4, 4, storage))) as session:
            answers.append(session.run(images))
    assert np.array_equal(answers[0], answers[1])


@pytest.mark.usefixtures("_any_arena")
@pytest.mark.parametrize("case", test_int4_weights.CASES)
def test_every_layer_takes_weights_of_4_bits_or_names_itself(case: str) -> None:
    """Depthwise ones too, which LiteRT's reference kernels refuse.

    Not dense ones with a scale a channel.
    """
    model, rng = test_int4_weights.CASES[case].output(), np.random.default_rng(0)
    plain, packed = (
        exporter.export(model, ExportOptions(weight_storage=storage)).content
        for storage in ("int8", "int4")
    )
    if case == "dense":
        with pytest.raises(Refused, match="FULLY_CONNECTED, its operator 0"):
            Engine(packed, {})
        return
    both = Engine(plain, {}), Engine(packed, {})
    sample = rng.integers(-128, 128, both[0].inputs[0]["shape"]).astype(np.int8)
    for engine in both:
        engine.set_input(sample)
        engine.invoke()
    assert np.array_equal(both[0].get_output(), both[1].get_output())


def test_the_mlperf_network_differs_in_the_classifier_alone(data_dir: Path) -> None:
    images = np.load(data_dir / "cifar10-lossless" / "test.npz")["images"][:40]
    content = (data_dir / "models" / "resnet8-int8.tflite").read_bytes()
    found = mismatches(content, len(images), (images.astype(np.int16) - 128).astype(np.int8))
    assert {each.operator.name for each in found} == {"FULLY_CONNECTED"}
    for each in found:
        assert_explained(each)


def test_tensors_have_the_names_and_grids_that_litert_gives_them(data_dir: Path) -> None:
    path = data_dir / "models" / "resnet8-int8.tflite"
    images = (
        np.load(data_dir / "cifar10-lossless" / "test.npz")["images"][:2]
        .astype(np.float32)
        .transpose(0, 3, 1, 2)
    )
    with (
        tflm.open(path, intermediates=True) as micro,
        tflite.reference.open(path, intermediates=True) as litert,
    ):
        assert (micro.inputs, micro.output) == (litert.inputs, litert.output)
        one, other = micro.tensors(images), litert.tensors(images)
    assert list(one) == list(other)
    for name in list(one)[:-2]:  # behind the classifier they may differ, see above
        mine, wanted = one[name], other[name]
        assert isinstance(mine, QuantizedTensor)
        assert isinstance(wanted, QuantizedTensor)
        assert mine.params == wanted.params
        assert np.array_equal(mine.values, wanted.values), name


def test_float_models_run_and_the_audit_says_so(data_dir: Path) -> None:
    path = data_dir / "models" / "resnet8-float.tflite"
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 32, 32)).astype(np.float32)
    with tflm.open(path) as micro, tflite.reference.open(path) as litert:
        np.testing.assert_allclose(micro.run(images), litert.run(images), rtol=1e-4, atol=1e-6)
    found = audit(path, "tflm")
    assert found.integer_share == 0
    assert all(op.state == "float" and op.why for op in found.ops if op.macs)


def test_facts_tell_the_arena_and_that_arena_is_enough(tmp_path: Path) -> None:
    path = saved(tmp_path, zoo_models.tflite("resnet8"))
    with tflm.open(path) as session:
        needed, used = int(session.facts["arena_bytes"]), int(session.facts["arena_used_bytes"])
        assert 32 * 32 * 16 * 2 < used <= needed < used + 2**10
        answer = session.run(samples_of(session.inputs[0].shape))
    with TARGETS.load(f"tflm:{needed}").open(path) as tight:
        assert np.array_equal(tight.run(samples_of(tight.inputs[0].shape)), answer)


def samples_of(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (2, *shape)).astype(np.float32)


@pytest.mark.parametrize("less", [64, 4096, 58000])
def test_a_model_over_the_arena_is_refused_with_its_size(tmp_path: Path, less: int) -> None:
    """Far below, the interpreter would end its process; the error is the same."""
    path = saved(tmp_path, zoo_models.tflite("resnet8"))
    with tflm.open(path) as session:
        used = int(session.facts["arena_used_bytes"])
    wanted = (
        rf"needs an arena of {used} bytes or a little more, and {used - less} are given\s+hint: "
        r"give it a larger"
    )
    with pytest.raises(TargetError, match=wanted):
        TARGETS.load(f"tflm:{used - less}").open(path)


def test_a_little_too_small_is_too_small(tmp_path: Path) -> None:
    """What stays in use would fit, but loading takes more for a while.

    Refused, where the interpreter would fail or crash.
    """
    path = saved(tmp_path, tflite_models.int8_model())
    with tflm.open(path) as session:
        used, needed = int(session.facts["arena_used_bytes"]), int(session.facts["arena_bytes"])
    assert used < needed
    with pytest.raises(TargetError, match="needs an arena of"):
        tflm.variant(str(used)).open(path)


@pytest.mark.parametrize("given", ["big", 0, -1, 1.5])
def test_a_board_with_an_arena_that_cannot_be(tmp_path: Path, given: object) -> None:
    with pytest.raises(TargetError, match=r"arena_bytes = .* is no number of bytes"):
        replace(tflm, options={"arena_bytes": given}).open(
            saved(tmp_path, tflite_models.int8_model())
        )


@pytest.mark.parametrize("kind", ["", "64k", "-1", "0", "2147483648", "1e6"])
def test_what_is_no_size_of_an_arena(kind: str) -> None:
    with pytest.raises(UsageError, match="no size of an arena"):
        tflm.variant(kind)


def test_an_operator_without_a_kernel_is_named(tmp_path: Path) -> None:
    graph, _ = test_pointwise.CASES["gelu"]
    with pytest.raises(TargetError, match="has no kernel for GELU"):
        tflm.open(saved(tmp_path, written(graph)))


def test_a_kernel_that_lacks_a_type_is_named(tmp_path: Path) -> None:
    content = written(test_sixteen_bits.CASES["Gather"]())
    with pytest.raises(TargetError, match="GATHER, its operator 0: Type 'INT16' is not supported"):
        tflm.open(saved(tmp_path, content))


def test_two_inputs_are_fed_by_name(tmp_path: Path) -> None:
    graph = Graph()
    graph.op("Add", [graph.input("a", ["N", 8], S8), graph.input("b", ["N", 8], S8)], "y", S8)
    path, random = saved(tmp_path, written(graph)), np.random.default_rng(0)
    fed = {name: random.normal(size=(3, 8)).astype(np.float32) for name in "ab"}
    with tflm.open(path) as micro, TARGETS.load("tflite-ref").open(path) as reference:
        assert np.array_equal(micro.run(fed), reference.run(fed))


def test_the_audit_counts_every_operator(tmp_path: Path) -> None:
    found = audit(saved(tmp_path, zoo_models.tflite("resnet8", 4, 4)), "tflm")
    assert found.integer_share == 1
    assert {op.state for op in found.ops} == {"integer"}
    assert found.macs == 12_501_632


def test_a_board_of_the_users_keeps_what_the_target_can(tmp_path: Path) -> None:
    """Targets of the user's file keep the class, so audits and errors stay the same."""
    board = replace(tflm, name="board", launcher=Here(), modules=(), options={"arena_bytes": 2**16})
    assert isinstance(board, TflmTarget)
    assert board.probe().versions.keys() == {"tflite-micro"}
    assert board.plan(saved(tmp_path, tflite_models.int8_model())).ops


@pytest.mark.parametrize("name", ["resnet8", "stable-resnet8"])
@pytest.mark.parametrize("bits", [(8, 8), (4, 4)], ids=["8W8A", "4W4A"])
def test_the_emulator_of_it_predicts_whole_networks_to_the_integer(
    tmp_path: Path, name: str, bits: tuple[int, int]
) -> None:
    path, images = saved(tmp_path, zoo_models.tflite(name, *bits)), samples_of((3, 32, 32))
    with tflm.open(path) as micro, TARGETS.load("emulator:tflm").open(path) as emulated:
        assert np.array_equal(micro.run(images), emulated.run(images))


@pytest.mark.usefixtures("_any_arena")
@pytest.mark.parametrize("group", CASES)
def test_the_emulator_of_it_predicts_every_operator_to_the_integer(
    tmp_path: Path, group: str
) -> None:
    """Operators that both have, on models of one input and a batch of one."""
    compared, rng = 0, np.random.default_rng(0)
    for content in map(written, CASES[group]()):
        try:
            session = TARGETS.load("emulator:tflm").open(saved(tmp_path, content))
            engine = Engine(content, {})
        except (ArtefactError, TargetError, Refused):
            continue
        with session:
            first, *others = session.inputs
            if others:
                continue
            grid = first.params
            assert grid is not None
            integers = rng.integers(grid.qmin, grid.qmax, (4, *first.shape), endpoint=True)
            emulated = session.run(grid.dequantize(integers))
        assert np.array_equal(_real(engine, integers), emulated)
        compared += 1
    assert compared > 5


def _real(engine: Engine, integers: NDArray[np.int64]) -> NDArray[np.float32]:
    """What the interpreter answers, as real numbers, batch first."""
    answers, end = [], engine.outputs[0]
    for sample in integers:
        engine.set_input(sample[None].astype(engine.inputs[0]["dtype"]))
        engine.invoke()
        answers.append(np.array(engine.get_output()))
    return QuantParams.of(end["scale"][0], end["zero_point"][0], end["dtype"]).dequantize(
        np.concatenate(answers)
    )
