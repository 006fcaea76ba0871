"""Damaged and hostile files of every kind but ONNX; each is a function of its random generator."""

from __future__ import annotations

import copy
import io
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Rng = np.random.Generator

ACTING = "\x1b]0;FAKE: passed\x07\x1b[31m\u202e\u200b\u2028"
"""A name that would act on a terminal: a title, a colour, a turn of the direction of writing, what
nobody sees, another end of a line."""
_VALUES: tuple[Any, ...] = (None, "x", -1, 1e308, [], {}, ACTING, 2**70, True, [[[]]], "9" * 5000)
_LINES = (
    "[grid]",
    "x = [1, 2]",
    "seed = 3",
    "[cell]",
    "steps = ['lint {x}']",
    "function = 'a:b'",
    "[figures]",
    "a = 'b#/c'",
    "[report]",
    "maximize = ['a']",
    "[search]",
    "figure = 'a'",
    "artefacts = ['base.onnx']",
    "artefacts = 3",
    "data = 'digits'",
    "data = 5",
    "stages = ['a @ ort-cpu']",
    "stages = [[1]]",
    "[rules]",
    "accuracy = { max_drop = 0.5 }",
    "accuracy = true",
    "drift = { max_lsb_per_operator = 'x' }",
    "[statistics]",
    "alpha = nan",
    "[[expect]]",
    "until = 2027-01-31",
    "observer = 'x'",
    "samples = -3",
    "model = 'resnet8'",
    "[scheme]",
    "weight_bits = 99",
    "[[scheme.layers]]",
    "match = 3",
    f"a{'.a' * 3000} = 1",
    f"x = {'[' * 3000}{']' * 3000}",
    f"name = {json.dumps(ACTING)}",
)


def pick(rng: Rng, items: Any) -> Any:
    """One of them."""
    return items[int(rng.integers(len(items)))]


def flipped(content: bytes, rng: Rng) -> bytes:
    """A few bytes are others."""
    octets = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        octets[int(rng.integers(len(octets)))] = pick(rng, (0, 1, 127, 128, 255))
    return bytes(octets)


def cut(content: bytes, rng: Rng) -> bytes:
    """The end is missing."""
    return content[: int(rng.integers(len(content)))]


def binary(content: bytes, rng: Rng) -> bytes:
    """A file whose numbers say where others stand, as in TFLite's."""
    return pick(rng, (flipped, flipped, flipped, cut))(content, rng)  # type: ignore[no-any-return]


def toml(_: bytes, rng: Rng) -> bytes:
    """Lines of all that edgeq reads as TOML, in any order."""
    return "\n".join(pick(rng, _LINES) for _ in range(int(rng.integers(1, 9)))).encode()


def document(content: bytes, rng: Rng) -> bytes:
    """A JSON document in which a value is another one."""
    whole: Any = json.loads(content)
    for _ in range(int(rng.integers(1, 4))):
        inside = whole
        while inside:
            key = pick(rng, list(inside) if isinstance(inside, dict) else range(len(inside)))
            if rng.random() < 0.4 or not isinstance(inside[key], dict | list):
                inside[key] = copy.deepcopy(pick(rng, _VALUES))
                break
            inside = inside[key]
    return json.dumps(whole).encode()


def checkpoint(content: bytes, rng: Rng) -> bytes:
    """A safetensors file whose header, or what it notes, is another one."""
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.4:
        return content[:8] + flipped(header, rng) + rest
    told: Any = json.loads(header)
    notes = told.get("__metadata__", {})
    for name in list(notes):
        if rng.random() < 0.5:
            continue
        try:
            notes[name] = document(notes[name].encode(), rng).decode()
        except ValueError:
            notes[name] = ACTING
    if rng.random() < 0.3:
        told[ACTING] = told.pop(next(name for name in told if name != "__metadata__"))
    made = json.dumps(told).encode()
    return struct.pack("<Q", len(made)) + made + rest


def arrays(_: bytes, rng: Rng) -> bytes:
    """An ``.npz`` file of what nobody can feed to a network."""
    images = np.zeros((4, 3, 8, 8), np.float32)
    kinds: tuple[Mapping[str, Any], ...] = (
        {"images": images[:, 0], "labels": np.arange(4)},
        {"images": np.full_like(images, np.nan)},
        {"images": images, "labels": np.array(["a", "b", "c", "d"])},
        {"images": images, "labels": np.zeros(7)},
        {"images": images.astype(np.complex64)},
        {"images": images[:0]},
        {"images": np.array([{"a": 1}], dtype=object)},
        {ACTING: images},
        {"images": images, "labels": np.arange(4), "classes": np.array([ACTING] * 4)},
    )
    made = io.BytesIO()
    np.savez(made, **pick(rng, kinds))
    return flipped(made.getvalue(), rng) if rng.random() < 0.4 else made.getvalue()


MAKERS: Mapping[str, Callable[[bytes, Rng], bytes]] = {
    "tflite": binary,
    "toml": toml,
    "json": document,
    "safetensors": checkpoint,
    "npz": arrays,
}
"""How a file of an ending is made from a sound one."""
