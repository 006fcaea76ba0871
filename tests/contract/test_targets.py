"""What every registered target has to hold, whatever it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models, torch_models
from tests.support.runtimes.worker_targets import WORKERS

from edgeq.errors import ArtefactError, TargetError
from edgeq.network.loading import LOADERS
from edgeq.quant import QuantizedTensor
from edgeq.target import TARGETS, Target, TensorSpec
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.target import Session

SUFFIX = {"onnx": ".onnx", "tflite": ".tflite", "checkpoint": ".safetensors"}


def named(name: str) -> Target:
    return WORKERS[name] if name in WORKERS else TARGETS.load(name)


SLOW = ("arm64-ort", "arm64-tflite", "tensorflow")  # seconds each time one is opened
NAMES = [*TARGETS.names(), *WORKERS]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES],
)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    build = torch_models.loader(
        lambda rounding: torch_models.Network(quantized=True, rounding=rounding)
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(LOADERS, "load", lambda _name: build)
        target = named(request.param)
        if not target.probe().usable:
            pytest.skip(f"{request.param} is not usable here: {target.probe().why_not}")
        yield target


def content(kind: str) -> bytes:
    if kind == "onnx":
        return bytes(onnx_models.qdq_model().SerializeToString())
    return tflite_models.int8_model() if kind == "tflite" else torch_models.checkpoint_content()


def own_format(target: Target) -> str:
    """TFLite for a target that opens ONNX too: the ONNX model here has a float last layer."""
    return max(target.capabilities.formats)


@pytest.fixture
def artefact(target: Target, tmp_path: Path) -> Path:
    path = tmp_path / f"model{SUFFIX[own_format(target)]}"
    path.write_bytes(content(own_format(target)))
    return path


@pytest.fixture(scope="module")
def session(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Opened once for the tests that ask it one thing each."""
    path = tmp_path_factory.mktemp("opened") / f"model{SUFFIX[own_format(target)]}"
    path.write_bytes(content(own_format(target)))
    with target.open(path) as session:
        yield session


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_target_and_tells_what_it_runs_on(name: str) -> None:
    target = named(name)
    assert isinstance(target, Target)
    assert target.capabilities.summary
    assert target.capabilities.formats <= set(SUFFIX)
    found = target.probe()
    assert found.versions if found.usable else (found.why_not and found.hint)


def test_a_session_says_what_goes_in_and_comes_out(session: Session) -> None:
    assert isinstance(session.inputs[0], TensorSpec)
    assert sorted(session.inputs[0].shape) == [3, 8, 8]
    answer = session.run(onnx_models.images(2))
    assert answer.shape == (2, *session.output.shape)
    assert answer.dtype == np.float32
    assert all(isinstance(text, str) and text for text in session.facts.values())


def test_a_sample_s_answer_is_the_same_alone_and_in_a_batch(session: Session) -> None:
    images = onnx_models.images(5)
    side_by_side = session.run(images)
    alone = np.concatenate([session.run(image[None]) for image in images])
    assert np.array_equal(side_by_side, alone)
    assert len(np.unique(side_by_side, axis=0)) > 1


def test_answers_do_not_depend_on_the_threads(
    target: Target, session: Session, artefact: Path
) -> None:
    images = onnx_models.images(3)
    with target.open(artefact, threads=2) as two:
        np.testing.assert_allclose(session.run(images), two.run(images), rtol=1e-5, atol=1e-6)


def test_looking_inside_changes_no_number(target: Target, session: Session, artefact: Path) -> None:
    images = onnx_models.images(5)
    with target.open(artefact, intermediates=True) as open_session:
        assert np.array_equal(session.run(images), open_session.run(images))


def plain(tensor: QuantizedTensor | NDArray[np.float32]) -> NDArray[Any]:
    return tensor.values if isinstance(tensor, QuantizedTensor) else tensor


def test_the_tensors_inside_are_whole(target: Target, artefact: Path) -> None:
    images = onnx_models.images(4)
    with target.open(artefact, intermediates=True) as session:
        if not target.capabilities.intermediates:
            with pytest.raises(TargetError, match="hint: use "):
                session.tensors(images)
            return
        inside = session.tensors(images)
        alone = session.tensors(images[2:3])
    assert inside
    for name, tensor in inside.items():
        values = plain(tensor)
        assert len(values) == 4
        assert np.array_equal(values[2:3], plain(alone[name]))
        if isinstance(tensor, QuantizedTensor):
            assert values.min() >= tensor.params.qmin
            assert values.max() <= tensor.params.qmax


def test_tensors_have_to_be_asked_for_when_opening(session: Session) -> None:
    with pytest.raises(TargetError, match="hint: "):
        session.tensors(onnx_models.images(1))


def test_a_prepared_session_can_be_invoked(session: Session) -> None:
    session.prepare(onnx_models.images(1))
    session.invoke()
    session.invoke()
    with pytest.raises(ArtefactError, match="one sample at a time"):
        session.prepare(onnx_models.images(2))


@pytest.mark.parametrize("shape", [(1, 3, 9, 8), (1, 1, 8, 8), (1, 8), (0, 3, 8, 8), (3, 8, 8)])
def test_a_batch_of_another_shape_is_refused_and_the_session_goes_on(
    session: Session, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ArtefactError, match="hint: "):
        session.run(np.zeros(shape, np.float32))
    assert len(session.run(onnx_models.images(1))) == 1


def test_files_of_other_formats_are_refused(target: Target, tmp_path: Path) -> None:
    for kind in SUFFIX.keys() - target.capabilities.formats:
        other = tmp_path / f"other{SUFFIX[kind]}"
        other.write_bytes(content(kind))
        with pytest.raises(ArtefactError, match="format"):
            target.open(other)


def test_a_renamed_file_is_refused(target: Target, artefact: Path) -> None:
    artefact.write_bytes(b"GIF89a, and a lot more that is no model")
    with pytest.raises(ArtefactError, match="first bytes"):
        target.open(artefact)


def test_missing_and_empty_files_are_refused(target: Target, artefact: Path) -> None:
    artefact.write_bytes(b"")
    with pytest.raises(ArtefactError, match="zero bytes"):
        target.open(artefact)
    artefact.unlink()
    with pytest.raises(ArtefactError, match="there is no"):
        target.open(artefact)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(target: Target, artefact: Path, part: float) -> None:
    whole = artefact.read_bytes()
    artefact.write_bytes(whole[: max(9, int(len(whole) * part))])
    # tflite-runtime 2.14 does not check the end of a file: it crashes, and its worker takes the
    # crash.
    refusals = (ArtefactError, TargetError) if isinstance(target, WorkerTarget) else ArtefactError
    with pytest.raises(refusals, match="hint: "):
        target.open(artefact)
