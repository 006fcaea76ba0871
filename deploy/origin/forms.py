"""Other operators for the same function, as quantisers write them for a float network's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.deploy.origin.matching import BOUNDS
from edgeq.deploy.origin.unrounded import network_of
from edgeq.errors import ArtefactError, EdgeqError
from edgeq.formats.onnx_io import parse, serialize

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import onnx_ir as ir

    from edgeq.deploy.origin.unrounded import FloatNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A float network in operators that a quantised file of it may have.

    Attributes:
        network: the operators.
        inner: its values that the float file has not.
        pairs_more: whether it is the better one of two that explain equally much, as it has more
            values that the quantised file has too.
        renames: whether a name of the float file may be another value's here.
    """

    network: FloatNetwork
    inner: frozenset[str] = frozenset()
    pairs_more: bool = False
    renames: bool = False

    __repr__ = brief


def forms_of(real: ir.Model, other: FloatNetwork, *, layers_alone: bool) -> Iterator[Form]:
    """The forms of a float network, the one that its file has first.

    Args:
        real: the float model; left as it is.
        other: the quantised file in float.
        layers_alone: whether that has layers alone, and no operators between them.

    Raises:
        ArtefactError: the model cannot be brought to the form of a network.
    """
    dense = _dense_in(other)
    network = network_of(real, dense)
    yield Form(network)
    if not layers_alone and (form := _written_out_as(real, network, other, dense)) is not None:
        yield form
    with suppress(EdgeqError):  # edgeq quantises no such network
        yield Form(network_of(_as_quantized(real)), renames=True)


def _dense_in(other: FloatNetwork) -> frozenset[tuple[int, int]]:
    """The sizes of layers that are a Gemm there, and never a MatMul."""
    sizes = {
        kind: {each.layer.size for each in other.nodes if each.layer and each.op_type == kind}
        for kind in ("Gemm", "MatMul")
    }
    return frozenset(sizes["Gemm"] - sizes["MatMul"])


def _written_out_as(
    real: ir.Model,
    network: FloatNetwork,
    other: FloatNetwork,
    dense: Collection[tuple[int, int]],
) -> Form | None:
    """With functions written out by their definition in ONNX; None where nothing is new.

    Those are written out of which a quantised file has none: quantisers do so. Names that the float
    network has stay the same values'.
    """
    try:
        model = _written_out(real, other)
        written = None if model is None else network_of(model, dense)
    except (EdgeqError, RuntimeError):  # of the library that writes them out
        return None
    if written is None:
        return None
    names = {name for each in network.nodes for name in each.outputs}
    inner = {name for each in written.nodes for name in each.outputs} - names
    return Form(written, frozenset(inner), pairs_more=True)


def _written_out(real: ir.Model, other: FloatNetwork) -> ir.Model | None:
    """The model with those standard functions as their parts of which the other file has none."""
    import onnx
    from onnx import inliner

    has = {each.op_type for each in other.nodes} | BOUNDS
    lacks = sorted({node.op_type for node in real.graph if node.domain == ""} - has)
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(serialize(real)))
    written = inliner.inline_selected_functions(
        model, [("", name) for name in lacks], inline_schema_functions=True
    )
    if len(written.graph.node) == len(model.graph.node):
        return None
    return parse(written.SerializeToString(), "the float network")


def _as_quantized(model: ir.Model) -> ir.Model:
    """A float model in the operators that edgeq quantises, for one sample where it must be."""
    from edgeq.calibration.feeds.samples import for_one_sample
    from edgeq.calibration.quantize import integer_form

    try:
        return integer_form(model)
    except ArtefactError:
        alone = for_one_sample(model)
        if alone is None:
            raise
        return integer_form(alone)
