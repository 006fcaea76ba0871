"""Layers as C headers: every array written out, and one ``edgeq_layer`` that points to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.exporters.vectors.arithmetic import four

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.exporters.vectors.arithmetic import LayerArithmetic
    from edgeq.exporters.vectors.layers import Recorded, RecordedLayer
    from edgeq.numerics.multipliers import Multiplier

_C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
}
_A_LINE = 24


def stem(layer: RecordedLayer) -> str:
    """The name of a layer's header, without its ending, and of what is in it."""
    return f"layer_{layer.index:03d}"


def header(layer: RecordedLayer) -> str:
    """The header of one layer.

    What the C program does not replay has its tensors and no ``edgeq_layer``.
    """
    name = stem(layer)
    guard = f"EDGEQ_{name.upper()}_H"
    arrays = [_array(f"{name}_input{i}", tensor.values) for i, tensor in enumerate(layer.inputs)]
    arrays.append(_array(f"{name}_output", layer.output.values))
    parts = [
        f"/* {printable(layer.output.name)}: {layer.operator} */",
        f"#ifndef {guard}\n#define {guard}\n",
        '#include "edgeq_layer.h"\n',
    ]
    if layer.arithmetic is None:
        return "\n".join([*parts, *filter(None, arrays), "#endif\n"])
    arrays += [
        _array(f"{name}_{what}", values) for what, values in layer.arithmetic.constants.items()
    ]
    alone = (
        "#ifndef EDGEQ_ALL_LAYERS\nstatic const edgeq_layer *const edgeq_layers[] = "
        f"{{&{name}}};\n#endif\n"
    )
    return "\n".join(
        [
            *parts,
            *arrays,
            _inputs(name, layer, layer.arithmetic),
            _structure(name, layer, layer.arithmetic),
            alone,
            "#endif\n",
        ]
    )


def table(layers: Sequence[RecordedLayer]) -> str:
    """The header that includes all layers that can be replayed and lists them."""
    names = [stem(layer) for layer in layers if layer.arithmetic is not None]
    includes = "\n".join(f'#include "{name}.h"' for name in names)
    entries = ",\n    ".join(f"&{name}" for name in names)
    return (
        "/* Every layer that replay.c replays, in the order of execution. */\n#ifndef "
        "EDGEQ_LAYERS_H\n#define EDGEQ_LAYERS_H\n\n"
        f"#define EDGEQ_ALL_LAYERS\n{includes}\n\nstatic const edgeq_layer *const "
        f"edgeq_layers[] = {{\n    {entries}\n}};\n\n#endif\n"
    )


def printable(name: str) -> str:
    """A tensor's name for comments, strings and tables.

    Plain characters only, as names come from the model.
    """
    return "".join(
        c if c.isascii() and (c.isalnum() or c in " _-./:~#[]()+,;=") else "_" for c in name
    ).replace("/ ", "/_")


def _inputs(name: str, layer: RecordedLayer, arithmetic: LayerArithmetic) -> str:
    factors = arithmetic.inputs or (None,) * len(layer.inputs)
    rows = [
        _tensor(f"{name}_input{i}", tensor, factor)
        for i, (tensor, factor) in enumerate(zip(layer.inputs, factors, strict=True))
    ]
    return f"static const edgeq_tensor {name}_inputs[] = {{\n    " + ",\n    ".join(rows) + "\n};\n"


def _structure(name: str, layer: RecordedLayer, arithmetic: LayerArithmetic) -> str:
    settings = {"low": (-128,), "high": (127,), **arithmetic.settings}
    fields = [
        f'.name = "{printable(layer.output.name)}"',
        f".kind = EDGEQ_{arithmetic.kind}",
        f".input_count = {len(layer.inputs)}",
        f".inputs = {name}_inputs",
        f".output = {_tensor(f'{name}_output', layer.output, arithmetic.output)}",
        *(f".{what} = {name}_{what}" for what in arithmetic.constants),
    ]
    if "weights" in arithmetic.constants:
        fields.append(f".weights_shape = {_braced(four(arithmetic.constants['weights'].shape))}")
    fields += [
        f".{what} = {_braced(numbers) if len(numbers) > 1 else numbers[0]}"
        for what, numbers in settings.items()
    ]
    return f"static const edgeq_layer {name} = {{\n    " + ",\n    ".join(fields) + "\n};\n"


def _tensor(array: str, tensor: Recorded, factor: Multiplier | None) -> str:
    mantissa, shift = (0, 0) if factor is None else (factor.mantissa, factor.shift)
    return (
        f"{{{array}, {_braced(four(tensor.values.shape))}, {tensor.zero_point}, {mantissa}, "
        f"{shift}}}"
    )


def _braced(numbers: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"


def _array(name: str, values: NDArray[Any]) -> str:
    """An array, with its shape beside it; nothing for floats, which no integer device has."""
    if values.dtype.name not in _C_TYPES:
        return ""
    numbers = [str(number) for number in values.reshape(-1).tolist()]
    lines = ",\n    ".join(
        ", ".join(numbers[i : i + _A_LINE]) for i in range(0, len(numbers), _A_LINE)
    )
    shape = " x ".join(map(str, values.shape)) or "1"
    return (
        f"static const {_C_TYPES[values.dtype.name]} {name}[{max(values.size, 1)}] = {{ /* "
        f"{shape} */\n    {lines}\n}};\n"
    )
