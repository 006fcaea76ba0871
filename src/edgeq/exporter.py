"""What every exporter answers.

One canonical QDQ model in, one file out, and the proof that no number changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from edgeq.brief import brief
from edgeq.plain import to_plain
from edgeq.registry import Registry
from edgeq.tabular import Table, Tabular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.formats.dialect import ActivationDtype, Dialect
    from edgeq.plain import Json
    from edgeq.qdq.ort_x86.saturation import PairSums

IoType = Literal["float32", "int8", "uint8"]
IoLayout = Literal["nhwc", "nchw"]
WeightStorage = Literal["int8", "int4", "one-bit"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a file stores its numbers. The numbers stay, except with ``requantize``.

    Attributes:
        activation_dtype: storage dtype of ONNX activations: uint8 is fast on x86, int8 on Arm.
        io_type: element type at a TFLite file's boundary. int8 means the integers inside, which are
            int16 where activations have 16 bits.
        io_layout: order of the axes at a TFLite file's boundary. nhwc turns what the model takes
            for images and leaves the rest; nchw leaves everything, at the cost of a TRANSPOSE for
            each image.
        weight_storage: int4 stores weights of 4 bits in half the bytes, one-bit those of -1 and +1
            in an eighth; all others stay in int8. TFLite has no one-bit.
        allow_float: keep operators in float that have no integer form in the format, instead of
            refusing the model.
        requantize: approximate and list what the format cannot express exactly, instead of refusing
            the model.
        dynamic: write a float network with int8 weights, whose activations are put on grids as it
            runs.
        dialect: the dialect of one ONNX runtime; it also chooses the activation dtype.
    """

    activation_dtype: ActivationDtype = "uint8"
    io_type: IoType = "int8"
    io_layout: IoLayout = "nhwc"
    weight_storage: WeightStorage = "int8"
    requantize: bool = False
    allow_float: bool = False
    dynamic: bool = False
    dialect: Dialect | None = None


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Channels that the source gives a weight scale on which their sums leave the accumulator.

    A channel whose result is one integer, whatever comes in, is written with weights of zero and a
    scale on which its bias fits: exactly the same. Others lose precision, where that is allowed.

    Attributes:
        tensor: the result of the layer.
        weights: the name of its weights.
        channels: which of them.
        scale: their new scales, in the order of ``channels``.
        max_error_lsb: the largest possible error of a result, in LSB of the layer's output; 0 for
            channels with one result.
    """

    tensor: str
    weights: str
    channels: tuple[int, ...]
    scale: tuple[float, ...]
    max_error_lsb: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The scale-parity report.

    Every number of the QDQ model is compared with the same number read back from the written file.

    Attributes:
        weights: integer weights compared.
        biases: integer biases compared.
        scales: scales compared, bit for bit as float32.
        zero_points: zero points compared, after the storage dtype's shift.
        different: one line for each number that differs, naming tensor, kind, expected and found.
        rescaled: channels of which other numbers than the model's say the same; the file's are
            compared with those.
    """

    weights: int
    biases: int
    scales: int
    zero_points: int
    different: tuple[str, ...] = ()
    rescaled: tuple[Rescaled, ...] = ()

    @property
    def compared(self) -> int:
        """How many numbers were compared."""
        return self.weights + self.biases + self.scales + self.zero_points


@dataclass(frozen=True, slots=True)
class Approximation:
    """Something that a format cannot express, and what replaces it.

    Attributes:
        what: what was done.
        tensor: the tensor it was done to.
        max_error_lsb: the largest error of a number of the tensor, in LSB of its own scale, or of
            the new one where it had none.
    """

    what: str
    tensor: str
    max_error_lsb: float


@dataclass(frozen=True, slots=True)
class Transposes:
    """What a file spends on changes of layout.

    Attributes:
        count: operators that do nothing else.
        size_bytes: what they write in one inference of batch 1.
    """

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a quantised tensor of the model is in a written file.

    Attributes:
        name: the tensor's name in the integer view of the model.
        stored: the name of the tensor of the file that holds it.
        axes: for each dimension in the file, the axis of the model that stands there.
    """

    name: str
    stored: str
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileEnd:
    """An input or output of a written file.

    Attributes:
        kind: input or output.
        name: its name in the model.
        shape: its dimensions in the file; an open batch counts as 1.
        axes: for each of them, the axis of the model that stands there.
        channels_last: whether it holds images with the channels in the last dimension, as far as
            the model tells.
    """

    kind: Literal["input", "output"]
    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    channels_last: bool = False

    @property
    def order(self) -> str:
        """The order of its axes, for people."""
        if list(self.axes) == sorted(self.axes):
            return "as in the model"
        return "NHWC, in the model NCHW" if self.channels_last else f"axes {self.axes} of the model"


@dataclass(frozen=True, slots=True)
class FloatShare:
    """What a file computes in float.

    Attributes:
        operators: for each, its ONNX operator, node and, where the model has it, its source line.
        macs: their multiply-accumulates, for batch 1.
        total_macs: those of the whole model.
    """

    operators: tuple[str, ...]
    macs: int
    total_macs: int

    @property
    def share(self) -> float:
        """The part of the multiplications that is in float, 0 to 1."""
        return self.macs / self.total_macs if self.total_macs else 0.0


@dataclass(frozen=True, slots=True)
class Exported(Tabular):
    """A file's content and its proof.

    Attributes:
        content: the file; empty where the format is a folder.
        parity: the model's numbers against the file's; approximated ones against their
            approximations.
        approximations: what is not exact; none unless the options allow it.
        transposes: changes of layout that remain in the file; None where the format keeps the
            model's layout.
        stored: where the model's quantised tensors are in the file, in graph order; empty where
            the format keeps their names.
        files: the content of a folder by file name, where the format is one.
        in_float: what the file computes in float; None if nothing.
        ends: the inputs and outputs, where the format may order their axes differently.
        saturating: the layers whose pairs of products could saturate on an x86 processor without
            VNNI if their weights were stored as int8; empty where no such kernel reads the format,
            None where it is unknown.
        path: where it was written; None while it is in memory only.
    """

    content: bytes
    parity: ParityReport
    approximations: tuple[Approximation, ...] = ()
    transposes: Transposes | None = None
    stored: tuple[StoredTensor, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    in_float: FloatShare | None = None
    ends: tuple[FileEnd, ...] = ()
    saturating: tuple[PairSums, ...] | None = ()
    path: Path | None = None

    __repr__ = brief

    @property
    def size_bytes(self) -> int:
        """How much will be written."""
        return len(self.content) + sum(map(len, self.files.values()))

    def table(self) -> Table:
        """How many numbers were compared with the model's, and how many differ."""
        numbers = (self.parity.weights, self.parity.biases, self.parity.scales)
        different = len(self.parity.different)
        return Table(
            f"{self.path or 'not written'}: numbers compared with the model's",
            ("kB", "weights", "biases", "scales", "zero points", "different"),
            [
                (
                    f"{self.size_bytes / 1000:.1f}",
                    *(f"{count:,}" for count in (*numbers, self.parity.zero_points, different)),
                )
            ],
        )

    def to_dict(self) -> dict[str, Json]:
        """Its proof as plain values, without the file's content."""
        told = ("parity", "approximations", "transposes", "stored", "in_float", "ends")
        return {
            "path": None if self.path is None else str(self.path),
            "size_bytes": self.size_bytes,
            **{name: to_plain(getattr(self, name)) for name in told},
        }


@runtime_checkable
class Exporter(Protocol):
    """Writes one format.

    Registered in the entry-point group ``edgeq.exporters`` under the name users type.
    """

    @property
    def suffix(self) -> str:
        """The file ending, with its dot.

        An ending without one, such as ``-vectors``, is that of a folder.
        """
        ...

    def export(self, model: ir.Model, options: ExportOptions) -> Exported:
        """Write a canonical QDQ model; ``model`` is left as it is.

        Raises:
            ArtefactError: the model holds something that the format cannot express exactly; names
                the node.
        """
        ...


EXPORTERS: Registry[Exporter] = Registry("exporter")
