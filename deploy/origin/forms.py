"""Other operators for the same function, as quantisers write them for a float network's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.origin.matching import BOUNDS
from edgeq.deploy.origin.unrounded import network_of
from edgeq.errors import ArtefactError, EdgeqError
from edgeq.formats.onnx_io import parse, serialize

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.deploy.origin.unrounded import FloatNetwork


def written_out(
    real: ir.Model, network: FloatNetwork, other: FloatNetwork
) -> tuple[FloatNetwork, set[str]] | None:
    """A float network with functions written out by their definition in ONNX.

    Those are written out of which a quantised file has none: quantisers do so. Names that the float
    network has stay the same values'.

    Args:
        real: the float model; left as it is.
        network: the same as operators.
        other: the quantised file in float.

    Returns:
        The network, and its values that the float network has not; None where nothing is new.
    """
    try:
        model = _written_out(real, other)
        written = None if model is None else network_of(model)
    except (EdgeqError, RuntimeError):  # of the library that writes them out
        return None
    if written is None:
        return None
    names = {name for each in network.nodes for name in each.outputs}
    return written, {name for each in written.nodes for name in each.outputs} - names


def as_quantized(real: ir.Model) -> FloatNetwork | None:
    """A float network in the form that edgeq quantises; None where it quantises no such network.

    A normalisation or attention is many operators there.
    """
    try:
        return network_of(_as_quantized(real))
    except EdgeqError:
        return None


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
