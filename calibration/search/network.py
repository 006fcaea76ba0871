"""A float network that is quantised again and again, at other precisions.

It is brought to its canonical form once, and each tensor is observed once, whatever is tried.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import onnx_ir as ir
import onnx_ir.passes.common as passes

import edgeq
from edgeq.calibration._nodes import channel_axis, constant, name_of
from edgeq.calibration.feeds.fixed_inputs import with_fixed_inputs
from edgeq.calibration.feeds.samples import WholePixels, feeds
from edgeq.calibration.graph import classify
from edgeq.calibration.grids import PIXELS
from edgeq.calibration.inspection.method_samples import kept_for_methods
from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
from edgeq.calibration.normal_form.draft import Draft
from edgeq.calibration.observe import observe, run, session_of
from edgeq.calibration.precision import in_single_precision, pixel_inputs
from edgeq.calibration.quantize import into_integers, prepared
from edgeq.calibration.search.precision import EIGHT
from edgeq.calibration.search.study import LayerSize
from edgeq.calibration.statistics import Origin, Statistics
from edgeq.errors import ArtefactError, UsageError
from edgeq.formats.onnx_io import is_ours
from edgeq.network.placement import GridSpec, LayerWidths, Placement, place, taps_of
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.calibration.graph import Classified
    from edgeq.calibration.observers import RangeObserver
    from edgeq.calibration.search.study import Assignment
    from edgeq.target import Batch


class SearchNetwork:
    """A network, its layers, and what it becomes at any precision of these.

    Args:
        model: the float model; left as it is.
        batches: gives the calibration data, from the start each time; see
            :func:`edgeq.calibration.quantize.quantize_onnx`.
        config: how ranges are found and weights quantised, by which methods; its widths do not
            count. Methods that change integers run anew whenever the network is quantised.

    Attributes:
        layers: the layers with weights, in the order of the graph.

    Raises:
        ArtefactError: the model has something that cannot be quantised, or the batches do not fit.
    """

    def __init__(
        self,
        model: ir.Model,
        batches: Callable[[], Iterable[Batch]],
        config: CalibrationConfig,
    ) -> None:
        model, first = with_fixed_inputs(model, islice(batches(), 1), lambda _line: None)
        pixels = pixel_inputs(model)
        self._config, self._batches = config, batches
        self._given = in_single_precision(model)
        self._whole = WholePixels(self._given.graph.inputs, pixels)
        opening = list(self._whole.passing(first))
        found = prepared(self._given, config, opening, self._whole, lambda _line: None)
        self._model, self._levels, self._changing = found.model, found.levels, found.changing
        self._kept = kept_for_methods(
            self._model, opening, config.method_samples, lambda _line: None
        )
        self._observers: dict[tuple[str, ...], RangeObserver] = {}
        self._outputs = [
            name_of(value)
            for value in self._model.graph.outputs
            if value.dtype not in (ir.DataType.INT32, ir.DataType.INT64)
        ]
        self._tensors = {
            _called(found.classified, op.name): op.name
            for op in found.classified.ops
            if op.kind == "layer"
        }
        self.layers = self._sizes(found.classified)

    def quantized(self, precisions: Assignment, *, alone: bool = False) -> ir.Model:
        """The network at some precisions, as a canonical QDQ model.

        Args:
            precisions: of each layer.
            alone: quantise nothing but the layers that are not in float: their weights and what
                they read. Otherwise everything that an integer runtime stores is quantised.

        Raises:
            ArtefactError: it cannot be quantised so.
            UsageError: widths of channels without a scale each.
        """
        copy = self._model.clone()
        draft = Draft(copy.graph)
        classified = classify(copy.graph)
        if alone:
            placement = self._alone(classified, precisions)
        else:
            placement = self._placed(classified, precisions)
        taps = {
            grid: tuple(tensors) for grid, tensors in taps_of(classified.ops, placement).items()
        }
        self._observe(taps.values())
        observers = {grid: self._observers[tensors] for grid, tensors in taps.items()}
        if alone:
            placement = _signed(placement, observers)
        fixed = {**dict.fromkeys(self._whole.bright, PIXELS), **self._levels}
        into_integers(draft, classified, placement, observers, fixed, self._config)
        passes.RemoveUnusedNodesPass()(copy)
        for method in self._changing.values():
            method.apply(LayerPairs(self._model, copy, self._samples()))
        if not alone:  # what an exporter does not take for integers is told now
            read_qdq(copy, float_fallback=any(each.is_float for each in precisions.values()))
        copy.producer_name, copy.producer_version = "edgeq", edgeq.__version__
        copy.metadata_props["edgeq_version"] = edgeq.__version__
        return copy

    def runs(self, model: ir.Model | None) -> Callable[[Batch], dict[str, NDArray[np.float32]]]:
        """What computes the outputs of real numbers of a quantised network, or of the float one.

        As ONNX says, without any optimisation, so that trials are the same on every processor.

        Args:
            model: a quantised network; None for the float one.
        """
        exact, ours = model is not None, is_ours(self._given)
        session = session_of(model or self._given, exact=exact, ours=ours)
        inputs = tuple((model or self._given).graph.inputs)

        def outputs(batch: Batch) -> dict[str, NDArray[np.float32]]:
            import numpy as np

            parts = [run(session, self._outputs, fed) for fed in feeds(batch, inputs)]
            if len(parts) == 1:
                return {name: parts[0][name] for name in self._outputs}
            return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

        return outputs

    def _samples(self) -> list[dict[str, NDArray[np.float32]]]:
        """What methods see; kept once it was asked for."""
        if not self._kept.batches:
            for _ in self._kept.passing(self._whole.passing(self._batches())):
                pass
        inputs = tuple(self._model.graph.inputs)
        return [part for batch in self._kept.batches for part in feeds(batch, inputs)]

    def _placed(self, classified: Classified, precisions: Assignment) -> Placement:
        overrides = {
            self._tensors[name]: LayerWidths(is_float=True)
            if each.is_float
            else LayerWidths(each.weight_bits, each.act_bits)
            for name, each in precisions.items()
        }
        placement = place(
            classified.ops,
            placement="integer",
            weight_bits=EIGHT.weight_bits,
            act_bits=EIGHT.act_bits,
            overrides=overrides,
        )
        return replace(placement, channel_bits=self._channel_bits(precisions))

    def _channel_bits(self, precisions: Assignment) -> dict[str, tuple[int, ...]]:
        found = {
            self._tensors[name]: each.channel_bits
            for name, each in precisions.items()
            if each.channel_bits
        }
        if found and not (self._config.per_channel and self._config.weight_method == "symmetric"):
            raise UsageError(
                "channels of different widths need a scale for each, and symmetric weights",
                hint="leave out --per-tensor and --weight-method, or search by layer",
            )
        return found

    def _alone(self, classified: Classified, precisions: Assignment) -> Placement:
        """Grids on the way to the layers that are not in float, and nowhere else."""
        read = {op.name: op.inputs[0] for op in classified.ops if op.kind == "layer"}
        chosen = {
            self._tensors[name]: each for name, each in precisions.items() if not each.is_float
        }
        grids = {
            f"{read[tensor]}_for_{tensor}": GridSpec(
                f"{read[tensor]}_for_{tensor}", each.act_bits, signed=True, inner=True
            )
            for tensor, each in chosen.items()
        }
        edges = {(tensor, 0): f"{read[tensor]}_for_{tensor}" for tensor in chosen}
        layers = {tensor: each.weight_bits for tensor, each in chosen.items()}
        return Placement(grids, {}, edges, layers, channel_bits=self._channel_bits(precisions))

    def _observe(self, wanted: Iterable[tuple[str, ...]]) -> None:
        """See the tensors of grids that were not seen so far."""
        missing = {" ".join(tensors): tensors for tensors in wanted}
        missing = {
            grid: tensors for grid, tensors in missing.items() if tensors not in self._observers
        }
        if not missing:
            return
        statistics = Statistics(
            Origin("", self._config.found_by, ""), missing, self._config.observer_factory()
        )
        observe(self._model, self._batches(), missing, statistics)
        self._observers |= {
            tensors: statistics.observers[grid] for grid, tensors in missing.items()
        }

    def _sizes(self, classified: Classified) -> tuple[LayerSize, ...]:
        everything = dict.fromkeys(self._tensors, EIGHT)
        graph = read_qdq(self.quantized(everything))
        macs = {op.name: op.macs for op in graph.ops}
        found = []
        for name, tensor in self._tensors.items():
            node = classified.makers[tensor]
            weight = constant(node.inputs[1])
            if weight is None:
                raise ArtefactError(f"{name} has no constant weights", hint="export it again")
            found.append(
                LayerSize(
                    name,
                    int(weight.size),
                    int(weight.shape[channel_axis(node)]),
                    macs.get(name, macs.get(tensor, 0)),
                    node.op_type,
                )
            )
        return tuple(found)


def _called(classified: Classified, tensor: str) -> str:
    """A layer's name: that of its node, or of the tensor where that has none."""
    return classified.makers[tensor].name or tensor


def _signed(placement: Placement, observers: Mapping[str, RangeObserver]) -> Placement:
    """Grids of what is never negative without a sign."""
    return replace(
        placement,
        grids={
            name: replace(spec, signed=observers[name].range(spec.bits)[0] < 0)
            for name, spec in placement.grids.items()
        },
    )
