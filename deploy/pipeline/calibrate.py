"""Post-training quantisation of a file or checkpoint.

It is calibrated on evenly spread samples of the training split, or of the test split where there is
no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import fed
from edgeq.errors import ArtefactError, OutputError, UsageError
from edgeq.files import write_bytes
from edgeq.formats.artefact import detect, resolve
from edgeq.formats.preprocessing_note import note
from edgeq.network.loading import LOADERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.data import DataSource, Split

BATCH = 32


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A QDQ file that was written.

    Attributes:
        size_bytes: of the file.
        samples: how many it was calibrated on.
        split: whose samples they are.
    """

    size_bytes: int
    samples: int
    split: str


def calibrate(
    path: Path,
    source: DataSource,
    output: Path,
    config: CalibrationConfig,
    *,
    samples: int = 500,
    outputs: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Calibrated:
    """Quantise a float network and write it as canonical QDQ ONNX.

    Args:
        path: a float ONNX file, or the checkpoint or folder of an FP32 training.
        source: the data.
        output: the file to write.
        config: how ranges are found and weights quantised.
        samples: how many samples of the training split are used, at most; of the test split where
            there is no training split.
        outputs: the tensors at which the network is cut; its own outputs by default.
        overwrite: replace ``output``.
        progress: called with the samples done and the samples in all, then, for each method, with
            the layers done and the layers in all.
        tell: called with what each method did, and with how near each output is to float.

    Raises:
        ArtefactError: the network is broken, quantised already, cannot be quantised, or does not
            fit the data.
        UsageError: no training samples.
        OutputError: ``output`` exists, cannot be written, or is the source.
    """
    from edgeq.calibration.quantize import quantize_onnx
    from edgeq.exporters.onnx.dialects import to_dialect
    from edgeq.formats.dialect import CANONICAL
    from edgeq.formats.onnx_io import serialize
    from edgeq.formats.subgraph import cut

    found = resolve(path)
    if output.resolve() == found.resolve():
        raise OutputError(
            f"{output} is what is being calibrated", hint="choose another place with -o/--output"
        )
    split = "train" if len(source.train) else "test"
    part: Split = getattr(source, split)
    chosen = _spread(len(part), samples)
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, len(chosen))

    model = quantize_onnx(
        cut(_float_model(found), outputs),
        (samples for samples, _ in fed(part.take(chosen), source, BATCH)),
        config,
        data=source.name,
        progress=count,
        layers=progress,
        tell=tell,
    )
    model.metadata_props.update(note(source.preprocessing.to_dict()))
    content = serialize(to_dialect(model, CANONICAL))
    write_bytes(output, content, overwrite=overwrite)
    return Calibrated(len(content), len(chosen), split)


def _float_model(path: Path) -> ir.Model:
    if detect(path) != "checkpoint":
        from edgeq.formats.onnx_io import read

        return read(path)
    from edgeq.exporters.torch.lower import lower

    loaded = LOADERS.load("checkpoint")(path)
    if loaded.quantized:
        raise ArtefactError(
            f"{path} is quantised already",
            hint="edgeq export writes it as QDQ ONNX; calibrate a network trained with --fp32",
        )
    return lower(loaded.module, loaded.input_shape, metadata=loaded.metadata)


def _spread(available: int, wanted: int) -> NDArray[np.int64]:
    """Which samples to use: evenly spread over the split, whose files may be sorted by class."""
    if available == 0 or wanted < 1:
        raise UsageError(
            "there are no samples to calibrate on",
            hint="choose data with samples, and 1 sample or more",
        )
    return np.linspace(0, available - 1, min(wanted, available)).astype(np.int64)
