"""LiteRT's three kernel sets.

Accuracy of real models, tensors, chatter, and damaged files, which must never crash.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models

import edgeq.targets.tflite as module
from edgeq.errors import ArtefactError, TargetError
from edgeq.quant import QuantizedTensor, QuantParams
from edgeq.targets.common.probe import Runtime
from edgeq.targets.tflite import TfliteTarget, builtin, reference, xnnpack

if TYPE_CHECKING:
    from pathlib import Path


KERNELS = {xnnpack: "xnnpack", builtin: "builtin", reference: "reference"}
ALL = pytest.mark.parametrize("target", KERNELS, ids=KERNELS.get)


def saved(tmp_path: Path, content: bytes | None = None) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_models.int8_model(ours=True) if content is None else content)
    return path


@pytest.mark.parametrize(
    ("target", "name", "right"),
    [
        (xnnpack, "resnet8-float", 439),
        (builtin, "resnet8-float", 439),
        pytest.param(reference, "resnet8-float", 439, marks=pytest.mark.slow),
        (xnnpack, "resnet8-int8", 440),
        (builtin, "resnet8-int8", 440),
        (reference, "resnet8-int8", 441),
    ],
    ids=lambda value: KERNELS.get(value) if isinstance(value, TfliteTarget) else None,
)
def test_real_models_have_their_published_accuracy(
    data_dir: Path, target: TfliteTarget, name: str, right: int
) -> None:
    """One image of 500 more is right for the int8 model on the reference kernels."""
    test = np.load(data_dir / "cifar10-lossless" / "test.npz")
    images = test["images"].astype(np.float32).transpose(0, 3, 1, 2)
    with target.open(data_dir / "models" / f"{name}.tflite") as session:
        found = (session.run(images).argmax(1) == test["labels"]).sum()
    assert found == right


@ALL
def test_float_answers_do_not_depend_on_the_batch(data_dir: Path, target: TfliteTarget) -> None:
    """Batches never reach the optimised kernels, which then add in another order."""
    images = np.random.default_rng(0).uniform(0, 255, (5, 3, 32, 32)).astype(np.float32)
    with target.open(data_dir / "models" / "resnet8-float.tflite") as session:
        assert np.array_equal(
            session.run(images), np.concatenate([session.run(image[None]) for image in images])
        )


@pytest.mark.parametrize("target", [builtin, reference], ids=["builtin", "reference"])
def test_tensors_come_with_their_grids_channels_first(tmp_path: Path, target: TfliteTarget) -> None:
    images = onnx_models.images(2)
    with target.open(saved(tmp_path), intermediates=True) as session:
        inside, answer = session.tensors(images), session.run(images)
    assert list(inside) == ["input", "first", "pool", "output"]
    tensors = {
        name: tensor for name, tensor in inside.items() if isinstance(tensor, QuantizedTensor)
    }
    assert [tensor.values.shape for tensor in tensors.values()] == [
        (2, 3, 8, 8),
        (2, 4, 8, 8),
        (2, 4, 1, 1),
        (2, 4),
    ]
    assert tensors["first"].params == QuantParams.of(0.05, -128, "int8")
    grid = QuantParams.of(0.03, 3, "int8")
    assert tensors["input"].params == grid
    assert np.array_equal(tensors["input"].values, grid.quantize(images))
    assert np.array_equal(tensors["output"].dequantize(), answer)


def test_the_reference_kernels_compute_what_the_integers_mean(tmp_path: Path) -> None:
    """The convolution again in numpy: within one step, since a requantisation rounds."""
    with reference.open(saved(tmp_path), intermediates=True) as session:
        inside = session.tensors(onnx_models.images(1))
    x, first = inside["input"], inside["first"]
    assert isinstance(x, QuantizedTensor)
    assert isinstance(first, QuantizedTensor)
    rng = np.random.default_rng(0)
    weight = (
        rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.float64)
        * np.array([0.004, 0.005, 0.006, 0.007])[:, None, None, None]
    )
    bias = rng.integers(-300, 300, 4) * 0.03 * np.array([0.004, 0.005, 0.006, 0.007])
    padded = np.pad(x.dequantize()[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    real = np.einsum("chwij,oijc->ohw", windows, weight) + bias[:, None, None]
    expected = np.clip(np.rint(real / 0.05), 0, 255)
    assert np.abs(first.centered()[0] - expected).max() <= 1
    assert len(np.unique(expected)) > 50


def test_facts_tell_the_kernels_and_what_the_delegate_took(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with xnnpack.open(path) as fast, builtin.open(path) as plain:
        assert fast.facts["delegate"].startswith("XNNPACK took ")
        assert " of 3 operators in " in fast.facts["delegate"]
        assert "delegate" not in plain.facts
        assert plain.facts["operators"] == "AVERAGE_POOL_2D 1, CONV_2D 1, RESHAPE 1"
        assert plain.facts["ai-edge-litert"]


def test_a_graph_that_xnnpack_does_not_take_is_no_result_of_xnnpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = module.TfliteTarget(xnnpack.capabilities, builtin.kernels, delegate=True)
    with pytest.raises(TargetError, match="XNNPACK takes no operator"):
        without.open(saved(tmp_path))


def test_xnnpack_shows_no_tensors(tmp_path: Path) -> None:
    with (
        xnnpack.open(saved(tmp_path), intermediates=True) as session,
        pytest.raises(TargetError, match="use tflite-builtin or tflite-ref"),
    ):
        session.tensors(onnx_models.images(1))


def test_information_is_dropped_from_stderr_and_warnings_are_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with xnnpack.open(saved(tmp_path)):
        pass
    assert capfd.readouterr().err == ""
    code = (
        "import os\nfrom edgeq.targets.tflite import _quiet\nwith _quiet(): os.write(2, "
        "b'INFO: a\\nWARNING: b\\nno prefix\\n')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stderr == "WARNING: b\nno prefix\n"


def test_another_package_with_the_interpreter_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Runtime("edgeq-no-such-runtime", "edgeq_no_such_runtime")
    present = Runtime("tflite-runtime", "ai_edge_litert.interpreter")
    monkeypatch.setattr(module, "_RUNTIMES", (absent, present))
    with builtin.open(saved(tmp_path)) as session:
        assert session.facts["tflite-runtime"] == "unknown"
    monkeypatch.setattr(module, "_RUNTIMES", (absent,))
    with pytest.raises(TargetError, match="pip install edgeq-no-such-runtime"):
        builtin.open(saved(tmp_path))


CRASH_FREE = """
import os, random, signal, sys
from pathlib import Path
import numpy as np
from edgeq.errors import ArtefactError, TargetError
from edgeq.targets.tflite import builtin, reference, xnnpack

path, seed, cuts, flips = Path(sys.argv[1]), *map(int, sys.argv[2:])
whole, chance = path.read_bytes(), random.Random(seed)
mutants = [whole[:chance.randrange(9, len(whole))] for _ in range(cuts)]
for _ in range(flips):
    damaged = bytearray(whole)
    damaged[chance.randrange(8, len(whole))] ^= 1 << chance.randrange(8)
    mutants.append(bytes(damaged))
for number, mutant in enumerate(mutants):
    path.write_bytes(mutant)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            with (xnnpack, builtin, reference)[number % 3].open(path) as session:
                session.run(np.zeros((1, *session.inputs[0].shape), np.float32))
            os._exit(10)
        except (ArtefactError, TargetError) as error:
            os._exit(11 if isinstance(error, ArtefactError) else 12)
        except BaseException:
            os._exit(13)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("truncated" if number < cuts else "flipped", status)
"""


@pytest.mark.parametrize(
    ("cuts", "flips"), [(12, 48), pytest.param(60, 300, marks=pytest.mark.slow)]
)
def test_truncated_and_damaged_files_never_crash(tmp_path: Path, cuts: int, flips: int) -> None:
    """A process each, which tells a crash from what may be.

    Exit 10: it ran; 11: the file is refused; 12: the runtime refused it; -6 or -11: a crash.
    """
    path = saved(tmp_path)
    out = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", CRASH_FREE),
            *(str(path), "1", str(cuts), str(flips)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = [line.split() for line in out.stdout.splitlines()]
    assert {code for kind, code in seen if kind == "truncated"} == {"11"}
    flipped = [code for kind, code in seen if kind == "flipped"]
    assert len(flipped) == flips
    assert set(flipped) <= {"10", "11", "12"}


def test_a_file_that_runs_but_is_damaged_is_refused_at_its_output(tmp_path: Path) -> None:
    """Such graphs abort the whole process inside LiteRT, so they must not reach it."""
    for outputs in ([-1], [99]):
        with pytest.raises(ArtefactError, match="names a tensor that is not there"):
            builtin.open(saved(tmp_path, tflite_models.int8_model(outputs=outputs)))


@pytest.mark.parametrize("scale", [0.0, -0.05, float("nan"), float("inf")])
def test_a_grid_that_interpreters_abort_on_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(ArtefactError, match="has the scale"):
        reference.open(saved(tmp_path, tflite_models.int8_model(activation_scale=scale)))
