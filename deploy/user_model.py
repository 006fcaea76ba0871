"""``edgeq.export`` and ``edgeq.compare``.

From a network that its owner trained to a file for devices, and from files to what differs.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.deploy.pipeline.export import require_parity
from edgeq.errors import OutputError, UsageError
from edgeq.exporter import EXPORTERS, ExportOptions
from edgeq.files import check_output, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir
    import torch
    from torch import nn

    from edgeq.data import DataSource
    from edgeq.exporter import Exported
    from edgeq.results import Comparison


def export(
    model: nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    path: str | Path,
    *,
    options: ExportOptions | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a network as ONNX or TFLite, and prove that no number changed on the way.

    The file holds what the network computes in evaluation mode. The network itself is not changed.

    Args:
        model: what ``edgeq.quantize`` returned, trained; it may be wrapped in
            DistributedDataParallel or AveragedModel. Or a float network.
        example: of the input, or of each input, with a batch dimension. Only its shape counts.
        path: ends in ``.onnx`` or ``.tflite``.
        options: how the file stores its numbers.
        overwrite: replace a file that exists.

    Returns:
        The file's content with its proof.

    Raises:
        ArtefactError: the format has no exact form for a part of the network; names it.
        GateFailed: a number would differ; nothing is written.
        OutputError: the file exists, or cannot be written.
        UsageError: the path has an unknown ending. Or the network was wrapped after it was
            quantised, has seen no batch in training mode, holds NaN, infinity or another type than
            float32, or cannot read the example.
    """
    path = Path(path)
    exporter = EXPORTERS.load(_format(path))
    with _hints_for_python(path):
        check_output(path, overwrite=overwrite)
    exported = exporter.export(_lowered(_unwrapped(model), example), options or ExportOptions())
    require_parity([(path, exported.parity)])
    with _hints_for_python(path):
        write_bytes(path, exported.content, overwrite=overwrite)
    return replace(exported, path=path)


def compare(
    files: Sequence[str | Path],
    data: DataSource | str,
    *,
    targets: Sequence[str] = (),
    limit: int | None = None,
) -> Comparison:
    """Run files on runtimes over the same samples, and find where they begin to differ.

    Args:
        files: checkpoints, ONNX files or TFLite files.
        data: a data set, or the name of one.
        targets: the names of the runtimes; all that are usable here where none is named.
        limit: how many samples of the test split, from the first; None for all.

    Returns:
        Accuracy of each stage, and drift from each to the next. A stage that failed is in
        ``failures``.

    Raises:
        UsageError: no file, an unknown name, or a file that no target opens.
        ArtefactError: a file is missing, broken, or does not fit the data.
        TargetError: no target works here.
    """
    from edgeq.deploy.evaluation import compare as evaluation
    from edgeq.deploy.evaluation.chain import chain
    from edgeq.deploy.inputs import load_data

    source = load_data(data, None) if isinstance(data, str) else data
    stages = chain([Path(file) for file in files], targets)
    return evaluation.compare(stages, source, limit=limit).comparison


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


def _unwrapped(model: nn.Module) -> nn.Module:
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
