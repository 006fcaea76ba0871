"""Shards and interrupted calibrations end in the bytes of one run, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from PIL import Image

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.statistics import resume
from edgeq.data import load
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.calibrated import check_judging
from edgeq.deploy.pipeline.calibrate import BATCH, Job, calibrate, float_model
from edgeq.deploy.pipeline.calibration_recipe import CalibrationRecipe
from edgeq.deploy.pipeline.shards import Shard, gathered, measure
from edgeq.errors import ArtefactError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES = 3 * BATCH
METHODS = ("adaround:steps=3", "bias-correction")
MOMENTS = 3 + 2 * 2  # of batches, then of the layers of both methods
KILLED = """
import os, signal, sys
from pathlib import Path
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.statistics import resume
from edgeq.data import load
from edgeq.deploy.evaluation.calibrated import check_judging
from edgeq.deploy.pipeline.calibrate import Job, calibrate

folder, moment = Path(sys.argv[1]), int(sys.argv[2])
resume.EVERY_S = 0.0
calls = 0
def progress(done, total):
    global calls
    calls += 1
    if calls == moment:
        os.kill(os.getpid(), signal.SIGKILL)
config = CalibrationConfig(methods=("bias-correction",), weight_bits=4)
job = Job(folder / "net.onnx", load("digits", None), config, 96)
calibrate(job, folder / "made.onnx", progress=progress)
"""


class Stopped(BaseException):
    """What stands for the end of a process."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution and a classifier for the 8x8 digits, at random."""
    random = np.random.default_rng(0)
    shapes = {"first": (6, 1, 3, 3), "last": (10, 6)}
    tensors = [
        onnx.numpy_helper.from_array(
            (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name
        )
        for name, shape in shapes.items()
    ]
    tensors += [
        onnx.numpy_helper.from_array(random.normal(size=(6,)).astype(np.float32), "shift"),
    ]
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "first", "shift"], ["a"], pads=[1] * 4),
        make("Relu", ["a"], ["b"]),
        make("GlobalAveragePool", ["b"], ["e"]),
        make("Flatten", ["e"], ["f"]),
        make("Gemm", ["f", "last"], ["y"], transB=1),
    ]
    shapes_of_ends: dict[str, list[str | int]] = {"x": ["n", 1, 8, 8], "y": ["n", 10]}
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes_of_ends.items()
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    opset = onnx.helper.make_opsetid("", 21)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)
    return path


@pytest.fixture
def job(network: Path) -> Callable[..., Job]:
    def made(**config: Any) -> Job:
        config.setdefault("methods", ())
        return Job(network, load("digits", None), CalibrationConfig(**config), SAMPLES)

    return made


def written(job: Job, folder: Path) -> bytes:
    calibrate(job, folder / "whole.onnx")
    return (folder / "whole.onnx").read_bytes()


@pytest.mark.parametrize("observer", ["minmax", "moving-average", "minmax-percentile", "mse"])
def test_shards_end_in_the_bytes_of_one_run(
    observer: str, job: Callable[..., Job], tmp_path: Path
) -> None:
    asked, folder = job(observer=observer), tmp_path / "shards"
    for number in (2, 3, 1):
        assert measure(asked, Shard(number, 3), folder)[0].exists()
    statistics = gathered(asked, folder)
    calibrate(asked, tmp_path / "made.onnx", statistics=statistics)
    assert (tmp_path / "made.onnx").read_bytes() == written(asked, tmp_path)
    assert len(list(tmp_path.rglob("*"))) == 6  # two models, a folder with three files


def test_shards_that_do_not_make_a_whole_are_refused(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    asked = job()
    with pytest.raises(ArtefactError, match="holds no statistics"):
        gathered(asked, tmp_path)
    measure(asked, Shard(2, 3), tmp_path)
    with pytest.raises(ArtefactError, match=r"lacks 2 of 3 shards, .*: 1/3, 3/3"):
        gathered(asked, tmp_path)
    with pytest.raises(UsageError, match="3 batches of 32, too few for 6 shards"):
        measure(asked, Shard(1, 6), tmp_path)
    measure(asked, Shard(1, 1), tmp_path)
    with pytest.raises(ArtefactError, match="holds shards of 1 and of 3"):
        gathered(asked, tmp_path)
    (tmp_path / "2-of-3.safetensors").unlink()
    statistics = gathered(asked, tmp_path)
    fewer = replace(asked, samples=SAMPLES - 1)
    with pytest.raises(ArtefactError, match=r"is one of 3 batches .* this calibration has 2"):
        gathered(replace(asked, samples=64), tmp_path)
    with pytest.raises(ArtefactError, match="is another one than the statistics"):
        calibrate(fewer, tmp_path / "made.onnx", statistics=statistics)
    other = job(observer="percentile")
    with pytest.raises(ArtefactError, match="are of the observer 'minmax', and 'percentile'"):
        calibrate(other, tmp_path / "made.onnx", statistics=gathered(asked, tmp_path))


@pytest.mark.parametrize("typed", ["3", "0/4", "5/4", "a/4", "1/0", "-1/4"])
def test_what_is_no_shard_is_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="is no shard"):
        Shard.parse(typed)


def interrupted(job: Job, output: Path, moment: int) -> bool:
    """Whether a calibration that ends at some call of its progress was interrupted."""
    calls = 0

    def progress(_done: int, _total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise Stopped

    try:
        calibrate(job, output, progress=progress, overwrite=True)
    except Stopped:
        return True
    return False


def test_a_calibration_goes_on_after_an_interruption_at_any_moment(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "EVERY_S", 0.0)
    asked = job(methods=METHODS, weight_bits=4, act_bits=4)
    whole, made = written(asked, tmp_path), tmp_path / "made.onnx"
    assert not interrupted(asked, made, MOMENTS + 1)
    for moment in (1, 3, 5, MOMENTS):
        assert interrupted(asked, made, moment)
        told: list[str] = []
        calibrate(asked, made, tell=told.append, overwrite=True)
        assert made.read_bytes() == whole
        assert sorted(path.name for path in tmp_path.iterdir()) == ["made.onnx", "whole.onnx"]
        assert moment == 1 or any(
            each.startswith("going on from made.onnx.resume") for each in told
        )


def test_a_killed_calibration_goes_on(
    network: Path, job: Callable[..., Job], tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(network.read_bytes())
    ran = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "5"], check=False)
    assert ran.returncode == -9
    assert not (tmp_path / "made.onnx").exists()
    assert (tmp_path / "made.onnx.resume").exists()
    asked = job(methods=METHODS[1:], weight_bits=4)
    calibrate(asked, tmp_path / "made.onnx")
    assert (tmp_path / "made.onnx").read_bytes() == written(asked, tmp_path)
    assert not list(tmp_path.glob("*.resume*"))


def test_the_longest_name_leaves_room_to_go_on(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "EVERY_S", 0.0)
    made, told = tmp_path / f"{'n' * 250}.onnx", list[str]()
    assert interrupted(job(), made, 3)
    calibrate(job(), made, tell=told.append)
    assert told[0].startswith("going on from ")
    assert [path.name for path in tmp_path.glob("*n*") if len(path.name) > 60] == [made.name]
    with pytest.raises(OutputError, match="File name too long") as caught:
        calibrate(job(), tmp_path / f"{'n' * 251}.onnx")
    assert "a shorter name" in caught.value.hint


def test_what_others_left_is_not_gone_on_with(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "EVERY_S", 0.0)
    made, told = tmp_path / "made.onnx", list[str]()
    assert interrupted(job(), made, 3)
    asked = job(observer="percentile")
    calibrate(asked, made, tell=told.append)
    assert "of the observer 'minmax', and 'percentile' is asked for" in told[0]
    assert made.read_bytes() == written(asked, tmp_path)
    (tmp_path / "made.onnx.resume").write_bytes(b"something else")
    calibrate(asked, made, tell=told.append, overwrite=True)
    assert any("holds no statistics" in line for line in told)


def test_a_full_disk_is_told_and_loses_nothing(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "EVERY_S", 0.0)
    asked, made = job(methods=METHODS), tmp_path / "made.onnx"
    assert interrupted(asked, made, MOMENTS)
    kept = (tmp_path / "made.onnx.resume").read_bytes()

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"made.onnx cannot be written: No space left"):
            calibrate(asked, made, tell=told.append)
        with pytest.raises(OutputError, match="No space left"):
            measure(asked, Shard(1, 1), tmp_path / "shards")
    assert sum("an interruption would lose what was done" in line for line in told) == 1
    assert (tmp_path / "made.onnx.resume").read_bytes() == kept
    assert not made.exists()
    assert not list(tmp_path.glob(".*"))
    calibrate(asked, made)
    assert made.read_bytes() == written(asked, tmp_path)


def test_two_calibrations_into_one_file_do_not_meet(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    made, tried = tmp_path / "made.onnx", list[str]()

    def another(_line: str) -> None:
        calibrate(job(weight_bits=4), tmp_path / "other.onnx", overwrite=True)
        with pytest.raises(OutputError, match=r"made.onnx is in use: process \d+ .* calibrating"):
            calibrate(job(weight_bits=4), made, overwrite=True)
        tried.append(_line)

    calibrate(job(), made, tell=another)
    assert tried
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.onnx", "other.onnx"]
    assert made.read_bytes() == written(job(), tmp_path)


def test_a_calibrated_file_is_a_recipe(
    network: Path, job: Callable[..., Job], tmp_path: Path
) -> None:
    written(job(weight_bits=4, methods=("equalize",)), tmp_path)
    again, toml = tmp_path / "again.onnx", tmp_path / "recipe.toml"
    common = ["calibrate", str(network), "--data", "digits", "-o"]
    more = ["--recipe", str(tmp_path / "whole.onnx"), "--write-recipe", str(toml)]
    assert run([*common, str(again), *more]) == 0
    assert again.read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert run([*common, str(again), "--overwrite", "--recipe", str(toml), "--act-bits", "4"]) == 0
    found = CalibrationRecipe.read(again)
    assert (found.config.weight_bits, found.config.act_bits, found.samples) == (4, 4, SAMPLES)
    assert run([*common, str(tmp_path / "x.onnx"), "--recipe", str(network)]) == 2


def test_few_bits_are_rounded_well_unless_something_else_is_asked(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["calibrate", str(network), "--data", "digits", "--samples", "32", "--held-back", "0"]
    for name, flags, methods in (
        ("few", ["--weight-bits", "4"], ("gptq", "bias-correction")),
        ("nearest", ["--weight-bits", "4", "--weight-method", "symmetric"], ()),
        ("eight", ["--act-bits", "4"], ()),
    ):
        made = tmp_path / f"{name}.onnx"
        assert run([*common, *flags, "-o", str(made)]) == 0
        told = capsys.readouterr().err
        assert ("--weight-method symmetric rounds to nearest instead" in told) == bool(methods)
        assert CalibrationRecipe.read(made).config.methods == methods


def test_one_broken_image_is_named_and_left_out_only_if_asked(
    network: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    images = load("digits", None).train.images[:40]
    for number, pixels in enumerate(images):
        Image.fromarray(np.asarray(pixels)[..., 0]).save(photos / f"{number:02}.png")
    source = load(str(photos), None)
    asked = Job(network, source, CalibrationConfig(), 1000)
    first, second = (str(source.test.names[place]) for place in asked.chosen[:2])
    (photos / first).write_bytes(b"broken")
    (photos / second).write_bytes((photos / second).read_bytes()[:40])
    asked = replace(asked, source=load(str(photos), None))
    with pytest.raises(ArtefactError, match=rf"2 of 20 files .*: {first}, {second}") as error:
        calibrate(asked, tmp_path / "made.onnx")
    assert "--skip-broken" in error.value.hint
    told: list[str] = []
    done = calibrate(replace(asked, skip_broken=True), tmp_path / "made.onnx", tell=told.append)
    assert done.samples == len(asked.chosen) - 2
    assert told[0].startswith(f"2 of {len(asked.chosen)} samples are left out: ")
    assert told[0].endswith(f": {first}, {second}")
    other = next(place for place in range(40) if place not in asked.asked)
    (photos / source.test.names[other]).write_bytes(b"broken")
    left_out = check_judging(replace(asked, skip_broken=True), 200, 0)
    assert left_out == f"1 of 20 samples is left out: {source.test.names[other]}"
    with pytest.raises(ArtefactError, match="cannot be read as an image: it is none of JPEG"):
        check_judging(replace(asked, skip_broken=False, samples=8), 200, 0)


def test_a_layer_that_says_nothing_is_warned_of(network: Path, tmp_path: Path) -> None:
    model, nothing = onnx.load(network), np.zeros((6, 1, 3, 3), np.float32)
    for tensor in model.graph.initializer:
        if tensor.name == "first":
            tensor.CopyFrom(onnx.numpy_helper.from_array(nothing, "first"))
    onnx.save(model, tmp_path / "dead.onnx")
    told: list[str] = []
    asked = Job(tmp_path / "dead.onnx", load("digits", None), CalibrationConfig(), 32)
    calibrate(asked, tmp_path / "made.onnx", tell=told.append)
    assert sum("answers the same for every sample" in line for line in told) == 2


def test_shards_on_the_command_line(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["calibrate", str(network), "--data", "digits", "--samples", "96"]
    folder, made = ["--statistics", str(tmp_path / "seen")], ["-o", str(tmp_path / "made.onnx")]
    assert run([*common, "--shard", "2/2", *folder]) == 0
    assert "2-of-2.safetensors: 64 samples of digits" in capsys.readouterr().out
    assert run([*common, *folder, *made]) == 2
    assert "lacks 1 of 2 shards, or they were not finished: 1/2" in capsys.readouterr().err
    assert run([*common, "--shard", "1/2", *folder]) == 0
    assert run([*common, *folder, *made, "--held-back", "0"]) == 0
    assert run([*common, "-o", str(tmp_path / "whole.onnx"), "--held-back", "0"]) == 0
    assert (tmp_path / "made.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert run([*common, "--shard", "1/2", *made]) == 2
    assert "a shard writes statistics" in capsys.readouterr().err
    assert run(common) == 2
    assert "no file to write is given" in capsys.readouterr().err


def test_a_tflite_file_is_refused_with_what_to_calibrate_instead(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(32))
    with pytest.raises(ArtefactError, match="only ONNX files and checkpoints") as caught:
        float_model(tmp_path / "net.tflite")
    assert "tf2onnx" in caught.value.hint


def test_a_batch_of_several_is_refused_before_anything_is_written(
    network: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    model = onnx.load(network)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    made = tmp_path / "made.onnx"
    told = refusal("calibrate", tmp_path / "two.onnx", "--data", "digits", "-o", made)
    assert "[2, 1, 8, 8], and edgeq runs files whose batch is one or of any size" in told
    assert not made.exists()
