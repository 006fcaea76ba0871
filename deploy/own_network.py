"""From a network that its owner trained, in a loop of their own, to a file for devices: what ``edgeq.export`` is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import GateFailed, UsageError
from edgeq.exporter import EXPORTERS, ExportOptions
from edgeq.files import check_output, write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    import torch
    from torch import nn

    from edgeq.exporter import Exported


def export(
    model: nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    path: str | Path,
    *,
    options: ExportOptions | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a network as a file, in the format that the path's ending names, and prove that no number changed on the way.

    The network is left as it is, in the mode that it is in. What is written is what it computes in evaluation.

    Args:
        model: what ``edgeq.quantize`` returned, trained, perhaps inside of DistributedDataParallel; or a float network.
        example: of the input, or of each input, with a batch dimension: only its shape counts.
        path: ends in ``.onnx`` or ``.tflite``.
        options: how the file is written.
        overwrite: replace a file that exists.

    Returns:
        The file's content with its proof.

    Raises:
        ArtefactError: the format has no exact form for something in the network; names it.
        GateFailed: a number would differ; nothing is written.
        OutputError: the file exists, or cannot be written.
        UsageError: the ending is that of no format, or the network was wrapped after it was quantised.
    """
    path = Path(path)
    exporter = EXPORTERS.load(_format(path))
    check_output(path, overwrite=overwrite)
    exported = exporter.export(_lowered(_unwrapped(model), example), options or ExportOptions())
    if exported.parity.different:
        raise GateFailed(
            "\n  ".join([f"{len(exported.parity.different)} of {exported.parity.compared:,} numbers changed:", *exported.parity.different]),
            mend="nothing was written; please report the network, for this is not meant to happen",
        )
    write_bytes(path, exported.content, overwrite=overwrite)
    return exported


def _format(path: Path) -> str:
    by_suffix = {EXPORTERS.load(name).suffix: name for name in EXPORTERS.names()}
    suffix = next((each for each in by_suffix if each.startswith(".") and path.name.endswith(each)), None)
    if suffix is None:
        known = ", ".join(sorted(each for each in by_suffix if each.startswith(".")))
        raise UsageError(f"the ending of {path.name!r} is that of no format", mend=f"end the name in one of {known}")
    return by_suffix[suffix]


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network inside of what torch puts around one."""
    from torch.nn.parallel import DistributedDataParallel

    inner: Any = model
    while isinstance(inner, DistributedDataParallel) or hasattr(inner, "_orig_mod"):
        inner = inner.module if isinstance(inner, DistributedDataParallel) else inner._orig_mod
    return inner  # type: ignore[no-any-return]


def _lowered(model: nn.Module, example: torch.Tensor | Sequence[torch.Tensor]) -> ir.Model:
    import torch
    from torch import fx

    from edgeq.calibration.quantize import fold_onnx
    from edgeq.exporters.lower import lower
    from edgeq.lowering import IntegerLayer
    from edgeq.training.insertion.tracing import trace

    quantized = any(isinstance(module, IntegerLayer) for module in model.modules())
    if quantized and not isinstance(model, fx.GraphModule):
        raise UsageError(
            f"a {type(model).__name__} holds a quantised network, but is none itself", mend="export what edgeq.quantize returned"
        )
    examples = [example] if isinstance(example, torch.Tensor) else list(example)
    shapes = [tuple(each.shape[1:]) for each in examples]
    twin = copy.deepcopy(model).cpu()
    return lower(twin, shapes) if quantized else fold_onnx(lower(trace(twin, examples), shapes))
