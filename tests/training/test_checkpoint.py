"""Checkpoints come back whole, run no code, and anything else is refused in words."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch

from edgeq.errors import ArtefactError, EdgeqError, UsageError
from edgeq.formats.artefact import detect
from edgeq.training import checkpoint as checkpoints
from edgeq.training.qat_transform import quantizers
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE, CLASSES = (1, 8, 8), tuple("0123456789")
SCHEME = Scheme(4, 4)
IMAGE = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


def made(
    scheme: Scheme | None = SCHEME, model: str = "stable-resnet8"
) -> tuple[torch.nn.Module, checkpoints.Checkpoint]:
    """A network a step away from its initialisation, and its checkpoint."""
    torch.manual_seed(0)
    recipe = Recipe(model, "digits", scheme)
    network = checkpoints.build_model(recipe, SHAPE, len(CLASSES)).train()
    network(IMAGE)
    tensors = {
        checkpoints.MODEL + name: tensor
        for name, tensor in checkpoints.model_state(network).items()
    }
    momentum = {
        f"{checkpoints.OPTIMIZER}{name}": torch.randn_like(p)
        for name, p in network.named_parameters()
    }
    progress = {"epoch": 3, "loss_sum": 1 / 3, "history": [{"bits": None}]}
    return network.eval(), checkpoints.Checkpoint(
        recipe, SHAPE, CLASSES, tensors | momentum, progress
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoints.save(tmp_path / "run.safetensors", made()[1])
    return tmp_path / "run.safetensors"


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with another header."""
    tensors = safetensors.torch.load(path.read_bytes())
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    header = json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["edgeq"])
    change(header)
    path.write_bytes(safetensors.torch.save(tensors, {"edgeq": json.dumps(header)}))
    return path


class TestRoundTrip:
    def test_every_field_and_every_bit(self, saved: Path) -> None:
        _, before = made()
        after = checkpoints.read(saved)
        assert (after.recipe, after.input_shape, after.classes, after.progress) == (
            before.recipe,
            before.input_shape,
            before.classes,
            before.progress,
        )
        assert after.tensors.keys() == before.tensors.keys()
        for name, tensor in before.tensors.items():
            assert after.tensors[name].dtype == tensor.dtype
            assert torch.equal(after.tensors[name], tensor)

    @pytest.mark.parametrize("scheme", [None, Scheme(4, 4), Scheme(4, 8, placement="paper")])
    @pytest.mark.parametrize("model", ["resnet8", "resnet8-a", "stable-resnet8"])
    def test_the_network_computes_the_same(
        self, tmp_path: Path, model: str, scheme: Scheme | None
    ) -> None:
        network, checkpoint = made(scheme, model)
        checkpoints.save(tmp_path / "a.safetensors", checkpoint)
        loaded = checkpoints.load_model(tmp_path / "a.safetensors")
        assert torch.equal(loaded.module(IMAGE), network(IMAGE))
        assert not loaded.module.training
        assert (loaded.input_shape, loaded.quantized) == (SHAPE, scheme is not None)
        assert loaded.metadata["model"] == model
        assert loaded.metadata["scheme"] == (
            "FP32" if scheme is None else f"{scheme.name} {scheme.placement}"
        )

    def test_the_reference_only_clips(self, saved: Path) -> None:
        reference = checkpoints.load_model(saved, rounding=False).module
        assert {quantizer.rounding for quantizer in quantizers(reference)} == {False}
        assert not torch.equal(reference(IMAGE), checkpoints.load_model(saved).module(IMAGE))

    def test_the_same_content_is_the_same_bytes(self, tmp_path: Path, saved: Path) -> None:
        checkpoints.save(tmp_path / "again.safetensors", made()[1])
        assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()

    def test_it_is_known_as_a_checkpoint(self, saved: Path) -> None:
        assert detect(saved) == "checkpoint"

    def test_tied_weights_are_stored_once(self, saved: Path) -> None:
        names = [
            name
            for name in checkpoints.read(saved).tensors
            if name.startswith("model/stages.0.0.conv") and name.endswith("layer.weight")
        ]
        assert names == ["model/stages.0.0.conv.layer.weight"]


class TestBrokenFiles:
    def test_a_weight_that_is_no_number(self, tmp_path: Path) -> None:
        _, checkpoint = made()
        checkpoint.tensors["model/classifier.layer.weight"][0, 0] = torch.nan
        checkpoints.save(tmp_path / "a.safetensors", checkpoint)
        with pytest.raises(ArtefactError, match=r"'classifier\.layer\.weight' holds NaN"):
            checkpoints.load_model(tmp_path / "a.safetensors")

    @pytest.mark.parametrize("part", [*np.linspace(0, 0.999, 25).tolist(), "8", "9", "one byte"])
    def test_truncated_anywhere(self, saved: Path, part: float | str) -> None:
        content = saved.read_bytes()
        cut = {"8": 8, "9": 9, "one byte": len(content) - 1}.get(str(part))
        saved.write_bytes(content[: int(float(part) * len(content)) if cut is None else cut])
        with pytest.raises(ArtefactError, match="hint: "):
            checkpoints.load_model(saved)

    @pytest.mark.parametrize("seed", range(40))
    def test_a_flipped_bit_is_refused_or_changes_numbers_only(self, saved: Path, seed: int) -> None:
        """Never a traceback.

        Safetensors has no checksum, so a flip inside the data cannot be seen.
        """
        rng = np.random.default_rng(seed)
        content = bytearray(saved.read_bytes())
        (length,) = struct.unpack("<Q", content[:8])
        where = int(rng.integers(8 + length))
        content[where] ^= 1 << int(rng.integers(8))
        saved.write_bytes(bytes(content))
        with contextlib.suppress(UsageError):
            checkpoints.load_model(saved)

    @pytest.mark.parametrize(
        "content",
        [
            pickle.dumps({"a": 1}),
            b"PK\x03\x04" + b"\0" * 100,
            struct.pack("<Q", 2) + b"[]",
            struct.pack("<Q", 4) + b"null",
            struct.pack("<Q", 2**63) + b"{}",
            struct.pack("<Q", 200_000) + b"[" * 200_000,
            struct.pack("<Q", 8) + b"\xff" * 8,
        ],
        ids=["pickle", "zip", "list", "null", "length", "nesting", "encoding"],
    )
    def test_other_files(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.safetensors").write_bytes(content)
        for read in (checkpoints.read, checkpoints.read_header):
            with pytest.raises(ArtefactError, match="is no checkpoint"):
                read(tmp_path / "a.safetensors")

    @pytest.mark.parametrize(
        "metadata",
        [
            None,
            {"format": "pt"},
            {"edgeq": "no json"},
            {"edgeq": "[1]"},
            {"edgeq": "{}"},
            {"edgeq": "[" * 99_999},
        ],
    )
    def test_a_foreign_safetensors_file(
        self, tmp_path: Path, metadata: dict[str, str] | None
    ) -> None:
        (tmp_path / "a.safetensors").write_bytes(
            safetensors.torch.save({"w": torch.zeros(3)}, metadata)
        )
        with pytest.raises(ArtefactError, match="no checkpoint of edgeq"):
            checkpoints.read(tmp_path / "a.safetensors")

    def test_a_newer_format_says_so(self, saved: Path) -> None:
        rewritten(saved, lambda header: header.update(format="edgeq.checkpoint/2"))
        with pytest.raises(ArtefactError, match=r"has the format 'edgeq\.checkpoint/2'"):
            checkpoints.read(saved)

    @pytest.mark.parametrize(
        "fields",
        [
            {"input_shape": []},
            {"input_shape": ["1", 8, 8]},
            {"input_shape": [1, 8, -8]},
            {"input_shape": 8},
            {"input_shape": [2**70, 8, 8]},
            {"input_shape": [3, 2**20, 2**20]},
            {"classes": 10},
            {"recipe": 1},
        ],
    )
    def test_a_header_that_makes_no_sense(self, saved: Path, fields: dict[str, object]) -> None:
        rewritten(saved, lambda header: header.update(fields))
        with pytest.raises(ArtefactError, match="no checkpoint of edgeq"):
            checkpoints.read(saved)

    @pytest.mark.parametrize(
        ("fields", "what"),
        [
            ({"model": None}, "model is None"),
            ({"epochs": "many"}, "epochs is 'many'"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    def test_a_recipe_of_another_version_says_what_it_cannot_read(
        self, saved: Path, fields: dict[str, object], what: str
    ) -> None:
        rewritten(saved, lambda header: header["recipe"].update(fields))
        with pytest.raises(ArtefactError, match=f"another version of edgeq: .*{what}") as caught:
            checkpoints.read(saved)
        assert caught.value.hint == "use the edgeq that wrote it"

    def test_the_header_is_read_without_the_tensors(self, saved: Path) -> None:
        whole = checkpoints.read_file(saved)[0]
        with saved.open("r+b") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            file.truncate(8 + length)
        assert checkpoints.read_header(saved) == whole

    @pytest.mark.parametrize(
        "fields", [{"classes": []}, {"classes": ["a"]}, {"input_shape": [3, 8, 8]}]
    )
    def test_tensors_of_another_network(self, saved: Path, fields: dict[str, object]) -> None:
        rewritten(saved, lambda header: header.update(fields))
        with pytest.raises(EdgeqError) as caught:
            checkpoints.load_model(saved)
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize("model", ["resnet8", "stable-resnet20", "no-such-net"])
    def test_another_model_in_the_recipe(self, saved: Path, model: str) -> None:
        rewritten(saved, lambda header: header["recipe"].update(model=model))
        with pytest.raises(EdgeqError) as caught:
            checkpoints.load_model(saved)
        assert caught.value.exit_code == 2

    def test_missing_and_empty(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="there is no checkpoint"):
            checkpoints.read(tmp_path / "none.safetensors")
        (tmp_path / "a.safetensors").touch()
        with pytest.raises(ArtefactError, match="zero bytes"):
            checkpoints.read(tmp_path / "a.safetensors")


class Bomb:
    """A pickle that leaves a trace if it is ever loaded."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.where), "w"))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_no_pickle_is_ever_loaded(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    for content in (
        pickle.dumps(Bomb(trace), protocol),
        struct.pack("<Q", 10) + pickle.dumps(Bomb(trace), protocol),
    ):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(ArtefactError):
            checkpoints.load_model(tmp_path / "a.safetensors")
    torch.save({"bomb": Bomb(trace)}, tmp_path / "a.safetensors")
    with pytest.raises(ArtefactError):
        checkpoints.load_model(tmp_path / "a.safetensors")
    assert not trace.exists()
