"""``edgeq.export``: from a network that its owner trained, or a file, to a file for devices."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from edgeq.deploy.pipeline.export import canonical, dynamic, require_parity
from edgeq.errors import OutputError, UsageError
from edgeq.exporter import EXPORTERS, ExportOptions
from edgeq.files import check_output, write_bytes
from edgeq.targets.isolation import apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir
    import torch
    from torch import nn

    from edgeq.exporter import Exported


@overload
def export(
    model: nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    path: str | Path,
    *,
    options: ExportOptions | None = ...,
    overwrite: bool = ...,
) -> Exported: ...


@overload
def export(
    model: str | Path,
    *,
    path: str | Path,
    options: ExportOptions | None = ...,
    overwrite: bool = ...,
) -> Exported: ...


@apart()
def export(
    model: nn.Module | str | Path,
    example: torch.Tensor | Sequence[torch.Tensor] | None = None,
    path: str | Path | None = None,
    *,
    options: ExportOptions | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a network or a file as ONNX or TFLite, and prove that no number changed on the way.

    The file holds what the network computes in evaluation mode. The network itself is not changed.

    Args:
        model: what ``edgeq.quantize`` returned, trained; it may be wrapped in
            DistributedDataParallel or AveragedModel. Or a float network. Or the path of a training
            folder, a checkpoint or an ONNX file of any tool.
        example: of the input, or of each input, with a batch dimension. Only its shape counts. A
            file needs none.
        path: ends in ``.onnx`` or ``.tflite``.
        options: how the file stores its numbers.
        overwrite: replace a file that exists.

    Returns:
        The file's content with its proof.

    Raises:
        ArtefactError: the format has no exact form for a part of the network; names it. Or a file
            is missing or broken.
        GateFailed: a number would differ; nothing is written.
        OutputError: the file exists, or cannot be written.
        UsageError: the path has an unknown ending. Or the network was wrapped after it was
            quantised, has seen no batch in training mode, holds NaN, infinity or another type than
            float32, or cannot read the example.
    """
    if path is None:
        raise UsageError("no path to write is given", hint="give path='network.tflite'")
    path = Path(path)
    exporter = EXPORTERS.load(_format(path))
    with _hints_for_python(path):
        check_output(path, overwrite=overwrite)
    options = options or ExportOptions()
    exported = exporter.export(dynamic(_canonical(model, example), options), options)
    require_parity([(path, exported.parity)])
    with _hints_for_python(path):
        write_bytes(path, exported.content, overwrite=overwrite)
    return replace(exported, path=path)


def _canonical(
    model: nn.Module | str | Path, example: torch.Tensor | Sequence[torch.Tensor] | None
) -> ir.Model:
    if isinstance(model, str | Path):
        return canonical(Path(model))
    if example is None:
        raise UsageError(
            "a network is exported with an example of its input",
            hint="give a tensor with a batch dimension, such as the first batch of your data",
        )
    return _lowered(unwrapped(model), example)


@contextmanager
def _hints_for_python(path: Path) -> Iterator[None]:
    """An error about a path says what to pass, in place of a flag of the command line."""
    try:
        yield
    except OutputError as error:
        instead = "pass overwrite=True, or give" if path.is_file() else "give"
        raise OutputError(error.what, hint=f"{instead} another path") from error


def _format(path: Path) -> str:
    by_suffix = {EXPORTERS.load(name).suffix: name for name in EXPORTERS.names()}
    suffix = next(
        (each for each in by_suffix if each.startswith(".") and path.name.endswith(each)), None
    )
    if suffix is None:
        known = ", ".join(sorted(each for each in by_suffix if each.startswith(".")))
        raise UsageError(
            f"the ending of {path.name!r} is that of no format",
            hint=f"end the name in one of {known}",
        )
    return by_suffix[suffix]


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside of what torch puts around one."""
    from torch import nn
    from torch.nn.parallel import DataParallel, DistributedDataParallel
    from torch.optim.swa_utils import AveragedModel

    inner: Any = model
    around: tuple[type[nn.Module], ...] = (DataParallel, DistributedDataParallel, AveragedModel)
    while isinstance(inner, around) or hasattr(inner, "_orig_mod"):
        inner = inner.module if isinstance(inner, around) else inner._orig_mod
    if not isinstance(inner, nn.Module):
        raise UsageError(
            f"the network is a {type(inner).__name__}, no torch.nn.Module",
            hint="give the network itself",
        )
    return inner


def _lowered(model: nn.Module, example: torch.Tensor | Sequence[torch.Tensor]) -> ir.Model:
    import torch
    from torch import fx

    from edgeq.calibration.quantize import fold_onnx
    from edgeq.exporters.torch.lower import lower
    from edgeq.network.layer_protocols import IntegerLayer
    from edgeq.training.qat_transform.tracing import as_batch, trace

    quantized = any(isinstance(module, IntegerLayer) for module in model.modules())
    if quantized and not isinstance(model, fx.GraphModule):
        raise UsageError(
            f"a {type(model).__name__} holds a quantised network, but is none itself",
            hint="export what edgeq.quantize returned",
        )
    _check_state(model)
    examples = [
        as_batch(each) for each in ([example] if isinstance(example, torch.Tensor) else example)
    ]
    shapes = [tuple(each.shape[1:]) for each in examples]
    twin = copy.deepcopy(model).cpu()
    return lower(twin, shapes) if quantized else fold_onnx(lower(trace(twin, examples), shapes))


def _check_state(model: nn.Module) -> None:
    """Refuse what would be a file without a mistake in it that answers nonsense."""
    import torch

    from edgeq.training.quantizers.parts.protocol import Following
    from edgeq.training.run.divergence import first_odd

    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            hint = (
                "export model.float(); to train in fewer bits, leave the network in float32 "
                "and use torch.autocast"
            )
            raise UsageError(
                f"{name} is in {tensor.dtype}, and edgeq computes in float32", hint=hint
            )
    if (odd := first_odd(model)) is not None:
        raise UsageError(
            f"{odd} holds what is no number",
            hint="go back to a state from before, and train on with a smaller step",
        )
    grids = [
        (name, module.waits)
        for name, module in model.named_modules()
        if name.startswith("quantizers.") and isinstance(module, Following)
    ]
    if grids and all(waits for _, waits in grids):
        what = (
            f"no batch has gone through the network in training, so that {grids[0][0]} has no "
            "bound, and neither have the others"
        )
        raise UsageError(
            what,
            hint="train it, or run some batches through it before: model.train(), then "
            "model(images)",
        )
