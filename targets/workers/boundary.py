"""What the host reads of an artefact before and after a worker loads it.

Soundness, grids, layout of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError, TargetError
from edgeq.files import read_bytes
from edgeq.quant import STORAGE_RANGE, QuantParams
from edgeq.target import TensorSpec
from edgeq.targets.common.io import WHOLE_NUMBERS
from edgeq.targets.workers.wire import DTYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_NHWC = (0, 2, 3, 1)
_BROKEN = "its engine is broken"


@dataclass(frozen=True, slots=True)
class Sendable:
    """An artefact that was looked through.

    Attributes:
        content: what to send to a worker.
        grids: of its input and outputs, by name, where the file says them and the runtime does not.
        axes: for tensors that are not stored in the usual layout, the axis of the model at each
            dimension.
        channels_last: whether images inside are stored with their channels last.
        takes_channels_last: the inputs that take images so or otherwise, by name.
        rows: how many rows the table has that an input of whole numbers picks from, by its name.
        pixels: the inputs that take whole numbers of uint8, which the graph makes float ones of.
    """

    content: bytes
    grids: Mapping[str, QuantParams] = field(default_factory=dict)
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    channels_last: bool = False
    takes_channels_last: Mapping[str, bool] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    pixels: frozenset[str] = frozenset()

    __repr__ = brief


def read(artefact: Path, *, qoperator: bool = False) -> Sendable:
    """Look through an ONNX or TFLite file.

    Args:
        artefact: the file.
        qoperator: whether the runtime has kernels for QOperator files; else their QDQ form is sent.

    Raises:
        ArtefactError: missing, damaged, or not a model that edgeq can feed.
    """
    return (
        _read_onnx(artefact, qoperator=qoperator)
        if artefact.suffix == ".onnx"
        else _read_tflite(artefact)
    )


def _read_tflite(artefact: Path) -> Sendable:
    from edgeq.formats.tflite_file import axes_in, images_last, rows_picked
    from edgeq.formats.tflite_validation import check_model

    content = read_bytes(artefact, "TFLite model")
    check_model(content, artefact)
    return Sendable(
        content,
        axes=axes_in(content),
        channels_last=True,
        takes_channels_last=images_last(content),
        rows=rows_picked(content),
    )


def _read_onnx(artefact: Path, *, qoperator: bool) -> Sendable:
    from edgeq.formats.onnx_io import load
    from edgeq.targets.plans.onnx_graph import (
        QdqView,
        channels_last,
        in_qdq,
        inputs_of,
        sample_shape,
    )

    model = load(artefact) if qoperator else in_qdq(load(artefact))
    entering = inputs_of(model)
    if not model.graph.output:
        raise ArtefactError(
            f"{artefact} has no output", hint="export it again; it may be truncated"
        )
    for value in entering:
        sample_shape(value, alone=len(entering) == 1)
    view, exits = QdqView(model), [value.name for value in model.graph.output]
    found = {
        **{value.name: view.input_params(value.name) for value in entering},
        **{name: view.output_params(name) for name in exits},
    }
    grids = {name: params for name, params in found.items() if params is not None}
    return Sendable(
        model.SerializeToString(),
        grids=grids,
        takes_channels_last={value.name: channels_last(model, value.name) for value in entering},
        rows={value.name: view.rows_picked(value.name) for value in entering},
        pixels=frozenset(value.name for value in entering if view.takes_pixels(value.name)),
    )


def spec_of(
    described: Any,
    grids: Mapping[str, QuantParams],
    *,
    counts: bool = False,
    batched: bool = True,
    pixels: Collection[str] = (),
) -> TensorSpec:
    """One end of a model, as a worker describes it.

    It may be whole numbers without a grid (``counts``, or one of the ``pixels``). One that need not
    be ``batched`` may be a state that has its layers first.

    Raises:
        ArtefactError: it is none that edgeq can feed or read.
        TargetError: it is no description at all.
    """
    name, shape, dtype = _told(described)
    if not shape or (batched and shape[0] != 1):
        raise ArtefactError(
            f"the tensor {name!r} has the shape {shape}, not a batch of one",
            hint="export it with batch 1",
        )
    params = None if dtype == "float32" else grids.get(name) or grid_of(described, dtype)
    no_grid = dtype != "float32" and params is None and name not in pixels
    if no_grid and (not counts or (dtype in STORAGE_RANGE and dtype not in WHOLE_NUMBERS)):
        raise ArtefactError(
            f"{name!r} is {dtype} without a scale, and edgeq feeds real numbers",
            hint="export with a scale",
        )
    has_batch = shape[0] == 1
    return TensorSpec(name, shape[has_batch:], dtype, params, batched=has_batch)


def _told(described: Any) -> tuple[str, tuple[int, ...], str]:
    try:
        name, shape, dtype = (
            str(described["name"]),
            tuple(int(size) for size in described["shape"]),
            described["dtype"],
        )
        if dtype in DTYPES and all(size >= 0 for size in shape):
            return name, shape, dtype
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise TargetError(f"the worker describes a tensor as {str(described)[:200]}", hint=_BROKEN)


def grid_of(described: Any, dtype: str) -> QuantParams | None:
    """The grid of a described tensor; None where it has none.

    Raises:
        TargetError: what stands there is no grid.
    """
    try:
        return _grid(described, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise TargetError(
            f"the worker describes a grid as {str(described)[:200]}", hint=_BROKEN
        ) from error


def _grid(described: Any, dtype: str) -> QuantParams | None:
    scale = described.get("scale")
    if scale is None or len(scale) == 0 or dtype not in STORAGE_RANGE:
        return None
    steps, zeros = (
        np.asarray(scale, np.float32),
        np.asarray(described.get("zero_point") or [0] * len(scale), np.int32),
    )
    if (
        steps.shape != zeros.shape
        or steps.ndim != 1
        or not (np.isfinite(steps) & (steps > 0)).all()
    ):
        raise ValueError("no grid")
    if len(steps) == 1:
        return QuantParams.of(steps.reshape(()), int(zeros[0]), dtype)
    return QuantParams.of(steps, zeros, dtype, axis=int(described.get("axis") or 0))


def order_of(name: str, rank: int, artefact: Sendable) -> tuple[int, ...]:
    """The axis of the model at each dimension of a stored tensor; empty where they are the same."""
    order = artefact.axes.get(
        name.partition("#")[0], _NHWC if artefact.channels_last and rank == 4 else ()
    )
    return order if len(order) == rank else ()


def in_model_axes(name: str, values: NDArray[Any], artefact: Sendable) -> NDArray[Any]:
    """A tensor with the axes of its model, from the ones it is stored in."""
    order = order_of(name, values.ndim, artefact)
    return np.ascontiguousarray(values.transpose(np.argsort(order))) if order else values


def grid_in_model_axes(name: str, described: Any, artefact: Sendable) -> QuantParams | None:
    """The grid of an inner tensor, its channel axis counted in the model's axes."""
    told, shape, dtype = _told({**described, "name": name})
    params, order = grid_of(described, dtype), order_of(told, len(shape), artefact)
    return (
        replace(params, axis=order[params.axis])
        if params is not None and params.axis is not None and order
        else params
    )
