"""Post-training quantisation: from a float model and batches to a canonical QDQ model."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

import edgeq
from edgeq.calibration._nodes import floats, is_embedding
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.feeds.fixed_inputs import with_fixed_inputs
from edgeq.calibration.feeds.samples import Kept, WholePixels, feeds, for_one_sample, why_alone
from edgeq.calibration.graph import changes_of, classify, with_depthwise
from edgeq.calibration.grids import PIXELS, activation_grid, bound_reciprocals, prescribe
from edgeq.calibration.insert import insert
from edgeq.calibration.inspection.layer_costs import LayerCost, layer_costs
from edgeq.calibration.inspection.method_samples import kept_for_methods
from edgeq.calibration.inspection.profiles import (
    FOLDED,
    IN_FILE,
    MIGRATED,
    LayerProfile,
    layer_profiles,
)
from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
from edgeq.calibration.normal_form.affine import (
    Preprocessings,
    affine_layers,
    on_levels_of_pixels,
    transposes_first,
)
from edgeq.calibration.normal_form.arithmetic import plain_arithmetic, plain_clips, plain_conditions
from edgeq.calibration.normal_form.draft import Draft
from edgeq.calibration.normal_form.fold import AFFINE, fold
from edgeq.calibration.normal_form.functions import functions_of
from edgeq.calibration.normal_form.layers import canonical_layers
from edgeq.calibration.normal_form.masks import fill_masks
from edgeq.calibration.normal_form.moves import plain_moves
from edgeq.calibration.normal_form.norms import norms_as_means
from edgeq.calibration.normal_form.pools import averages_as_layers, plain_pools
from edgeq.calibration.normal_form.prepare import prepare
from edgeq.calibration.normal_form.resizing import plain_resizes, resizes_as_products
from edgeq.calibration.normal_form.tokens import tokens_as_images
from edgeq.calibration.normal_form.turning import shuffles_as_blocks
from edgeq.calibration.normal_form.unrolling.recurrent import unroll
from edgeq.calibration.observe import (
    check_rewritten,
    extremes,
    judged,
    observe,
    output_sqnr,
    session_of,
    tensors_of,
    that_fit,
)
from edgeq.calibration.precision import in_single_precision, pixel_inputs
from edgeq.calibration.statistics import Origin, Statistics
from edgeq.calibration.statistics.resume import Progress
from edgeq.calibration.tail import share_like_grids
from edgeq.errors import ArtefactError
from edgeq.network.placement import LayerWidths, place, taps_of
from edgeq.qdq.reader import read_qdq
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from edgeq.calibration.graph import Classified
    from edgeq.calibration.methods import IntegerMethod
    from edgeq.calibration.observers import RangeObserver
    from edgeq.formats.onnx_session import Graph
    from edgeq.network.placement import Placement
    from edgeq.quant import QuantParams
    from edgeq.target import Batch

_JUDGED = 16, 4  # samples that show how near the outputs are to float, and how many of a batch
_RUNTIMES = ("numpy", "onnxruntime")  # what computes the ranges


def fold_onnx(model: ir.Model) -> ir.Model:
    """The float model in canonical operators, with all folded that integer kernels lack.

    Args:
        model: any float model; left as it is.

    Raises:
        ArtefactError: it is broken, quantised already, or too old to be converted.
    """
    folded = prepare(model)
    _fold(Draft(folded.graph))
    passes.RemoveUnusedNodesPass()(folded)
    return folded


def integer_form(model: ir.Model) -> ir.Model:
    """The float model in the operators that are quantised; raises as :func:`fold_onnx`."""
    found = fold_onnx(model)
    _integer_form(Draft(found.graph))
    passes.RemoveUnusedNodesPass()(found)
    return found


def _fold(draft: Draft) -> None:
    unroll(draft)
    plain_moves(draft)
    shuffles_as_blocks(draft)
    plain_clips(draft)
    plain_pools(draft)
    plain_resizes(draft)
    canonical_layers(draft)
    fold(draft)


def _integer_form(draft: Draft) -> Preprocessings:
    """What needs other operators in integers than in float; what became of the preprocessing."""
    transposes_first(draft)
    norms_as_means(draft)
    plain_conditions(draft)
    averages_as_layers(draft)
    resizes_as_products(draft)
    tokens_as_images(draft)
    plain_arithmetic(draft, _together(draft.graph))
    return affine_layers(draft, _together(draft.graph))


def _together(graph: ir.Graph) -> set[ir.Node]:
    """The nodes of functions of one tensor that are more than factors and shifts."""
    functions = functions_of(graph).values()
    return {
        node
        for each in functions
        if any(node.op_type not in AFFINE for node in each.nodes)
        for node in each.nodes
    }


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network in the form that is quantised.

    Attributes:
        given: the network as it was, perhaps for one sample at a time.
        float_session: it, in ONNX Runtime.
        model: it, still in float.
        draft: its graph.
        classified: its operators.
        changing: the methods that change integers, by name.
        levels: the grids that pixels have.
    """

    given: ir.Model
    float_session: Graph
    model: ir.Model
    draft: Draft
    classified: Classified
    changing: Mapping[str, IntegerMethod]
    levels: Mapping[str, QuantParams]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known of a network before any range is."""

    network: Prepared
    placement: Placement
    taps: Mapping[str, Sequence[str]]
    changes: Mapping[str, Mapping[str, Any]]

    def origin(self, config: CalibrationConfig, data: str) -> Origin:
        """What statistics of its tensors belong to."""
        graph = ir.to_proto(self.network.model).SerializeToString(deterministic=True)
        watched = json.dumps([[grid, *tensors] for grid, tensors in self.taps.items()])
        return Origin(hashlib.sha256(graph + watched.encode()).hexdigest(), config.found_by, data)


def _planned(
    model: ir.Model,
    config: CalibrationConfig,
    opening: Iterable[Batch],
    whole: WholePixels,
    tell: Callable[[str], None],
) -> _Plan:
    """What becomes of a network, in single precision; see :func:`prepared`."""
    found = prepared(model, config, opening, whole, tell)
    ops, changes = found.classified.ops, changes_of(found.classified, config.layers)
    changes, told = with_depthwise(
        found.classified,
        changes,
        config.depthwise_bits or config.weight_bits,
        all_bits=config.weight_bits,
        boundary_bits=config.boundary_bits,
    )
    for line in told:
        tell(line)
    placement = place(
        ops,
        placement="integer",
        weight_bits=config.weight_bits,
        act_bits=config.act_bits,
        boundary_bits=config.boundary_bits,
        overrides={name: LayerWidths.of(each) for name, each in changes.items()},
    )
    return _Plan(found, placement, taps_of(ops, placement), changes)


def prepared(
    model: ir.Model,
    config: CalibrationConfig,
    opening: Iterable[Batch],
    whole: WholePixels,
    tell: Callable[[str], None],
) -> Prepared:
    """Bring a network, perhaps for one sample at a time, to the form that is quantised.

    Args:
        model: the network, in single precision; left as it is.
        config: how it is quantised.
        opening: the first of all batches, on which the two forms are compared.
        whole: which inputs are pixels in it.
        tell: called with what was done.
    """
    first, lines = tuple(opening), list[str]()
    try:
        found = _prepared(model, config, first, whole, lines.append)
    except ArtefactError as error:
        alone = for_one_sample(model)
        if alone is None:
            raise
        why = why_alone(error.what)
        lines = [f"takes one sample at a time, which changes no answer, since {why}"]
        found = _prepared(alone, config, first, whole, lines.append)
    for line in lines:
        tell(line)
    return found


def _prepared(
    model: ir.Model,
    config: CalibrationConfig,
    first: Sequence[Batch],
    whole: WholePixels,
    tell: Callable[[str], None],
) -> Prepared:
    quantized = fold_onnx(model)
    draft = Draft(quantized.graph)
    for batch in first:
        masks = fill_masks(draft, partial(extremes, quantized, batch))
        for line in masks:
            tell(line)
    preprocessings = _integer_form(draft)
    for line in preprocessings.told:
        tell(line)
    passes.RemoveUnusedNodesPass()(quantized)
    changing: dict[str, IntegerMethod] = {}
    for name, method in config.made_methods().items():
        if method.stage == "integers":
            changing[name] = method
            continue
        before = _state(quantized.graph)
        if method.stage == "float":
            told = method.apply(draft)
        else:
            told = method.apply(draft, partial(tensors_of, quantized, first[0]))
        tell(f"{name}: {told}{_unchanged(before, quantized.graph)}")
    classified = classify(quantized.graph)
    session = session_of(model)
    for batch in first:
        check_rewritten(session, quantized, batch)
    levels = on_levels_of_pixels(draft, preprocessings.layers, whole.bright)
    return Prepared(model, session, quantized, draft, classified, changing, levels)


def measure_onnx(
    model: ir.Model,
    batches: Iterable[Batch],
    opening: Batch,
    config: CalibrationConfig,
    *,
    data: str = "not named",
    first: int = 0,
    seen: Callable[[int], None] | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Only measure: what :func:`quantize_onnx` sees of some of its batches.

    Args:
        model: the float model; left as it is.
        batches: a run of whole batches; see :func:`quantize_onnx`.
        opening: the first of all batches, whether it is one of these or not.
        config: how; the observer's statistics have to be mergeable.
        data: what the batches are.
        first: the number of the first batch.
        seen: called after each batch with its number of samples.
        progress: what keeps the statistics in a file.

    Raises:
        ArtefactError: the model cannot be quantised, or the batches do not fit it.
        UsageError: the observer's statistics cannot be kept.
    """
    model, openings = with_fixed_inputs(model, [opening], lambda _line: None)
    whole = WholePixels(model.graph.inputs, pixel_inputs(model))
    model = in_single_precision(model)
    plan = _planned(model, config, list(whole.passing(openings)), whole, lambda _line: None)
    make = config.observer_factory()
    statistics = Statistics(plan.origin(config, data), plan.taps, make, first)
    for observer in statistics.observers.values():
        observer.state()  # which an observer may refuse
    kept = progress or Progress()
    statistics = kept.begin(statistics, make)
    observe(plan.network.model, batches, plan.taps, statistics, seen, kept.seen)
    kept.write()
    return statistics


def quantize_onnx(
    model: ir.Model,
    batches: Iterable[Batch],
    config: CalibrationConfig | None = None,
    *,
    data: str = "not named",
    progress: Callable[[int], None] | None = None,
    layers: Callable[[int, int], None] = lambda _done, _total: None,
    tell: Callable[[str], None] = lambda _done: None,
    statistics: Statistics | None = None,
    resume: Progress | None = None,
    inspect: Callable[[tuple[LayerCost, ...]], None] | None = None,
    explain: Callable[[tuple[LayerProfile, ...]], None] | None = None,
    stage: Callable[[str], None] = lambda _what: None,
    judging: Sequence[Batch] = (),
) -> ir.Model:
    """Quantise a float model after training, in the ``integer`` placement.

    Args:
        model: the float model; left as it is.
        batches: calibration data, each float32, (samples, *sample shape), by the name of the input
            where there are several; read once, one at a time.
        config: how; 8 bits on minimum and maximum by default.
        data: what the batches are, for the model's metadata.
        progress: called after each batch with its number of samples.
        layers: called by methods with the layers done and the layers in all.
        tell: called with what each method did, and with how near each output is to float.
        statistics: what was seen of these batches elsewhere; they are not run again.
        resume: what keeps the work in a file, and goes on where an interruption left it.
        inspect: called at the end with what each layer costs.
        explain: called at the end with ranges and distributions of each layer.
        stage: called with what begins: the measuring, and each method with each of its layers.
        judging: samples that are not among the batches, for what is told of the outputs and of what
            layers cost; a few of the batches, which methods have seen, where there are none.

    Returns:
        The canonical QDQ model.

    Raises:
        ArtefactError: the model has something that cannot be quantised (names the node), or the
            batches do not fit it or the statistics.
    """
    config = config or CalibrationConfig()
    model, batches = with_fixed_inputs(model, batches, tell)
    pixels = pixel_inputs(model)
    model = in_single_precision(model)
    whole = WholePixels(model.graph.inputs, pixels)
    stream = whole.passing(batches)
    opening = list(islice(stream, 1))
    plan = _planned(model, config, opening, whole, tell)
    quantized, changing = plan.network.model, plan.network.changing
    make = config.observer_factory()
    origin = plan.origin(config, data)
    if statistics is not None:
        statistics.origin.check(origin, "the shards")
    work = resume or Progress()
    statistics = work.begin(statistics or Statistics(origin, plan.taps, make), make)
    most = config.method_samples
    kept = kept_for_methods(quantized, opening, most, tell) if changing else Kept(*_JUDGED)
    stage("measuring ranges")
    shown = kept.passing(chain(opening, stream))
    observe(quantized, shown, plan.taps, statistics, progress, work.seen)
    fixed = {**dict.fromkeys(whole.bright, PIXELS), **plan.network.levels}
    before = quantized.clone() if changing or inspect or explain else quantized
    draft, classified = plan.network.draft, plan.network.classified
    observers = statistics.observers
    into_integers(draft, classified, plan.placement, observers, fixed, config, plan.changes)
    passes.RemoveUnusedNodesPass()(quantized)
    inputs = tuple(quantized.graph.inputs)
    for name, method in changing.items():
        done = work.of_method(name, quantized.graph)
        if done.done:
            tell(f"{name}: was done before the interruption")
            continue
        fed = [part for batch in kept.batches for part in feeds(batch, inputs)]
        state = _state(quantized.graph)
        begin = partial(_begin, stage, name)
        told = method.apply(LayerPairs(before, quantized, fed, layers, done, begin))
        tell(f"{name}: {told}{_unchanged(state, quantized.graph)}")
        done.finish()
    floats = any(each.get("keep_float") for each in plan.changes.values())
    # as an exporter will: what it does not take for integers is told now
    read_qdq(quantized, float_fallback=floats)
    held_back = that_fit(judging, quantized)
    near = output_sqnr(plan.network.float_session, quantized, held_back or kept.batches)
    for line in judged(*near, None if held_back else statistics.samples):
        tell(line)
    costs = layer_costs(before, quantized, held_back or kept.batches) if inspect or explain else ()
    if inspect is not None:
        inspect(costs)
    if explain is not None:
        given = plan.network.given
        stages = {IN_FILE: given, FOLDED: fold_onnx(given), MIGRATED: before}
        explain(layer_profiles(stages, quantized, kept.batches, costs))
    _describe(quantized, config, statistics)  # from here on it is edgeq's own
    return quantized


def _begin(stage: Callable[[str], None], method: str, layer: str) -> None:
    stage(f"{method}, {layer}")


def into_integers(
    draft: Draft,
    classified: Classified,
    placement: Placement,
    observers: Mapping[str, RangeObserver],
    fixed: Mapping[str, QuantParams],
    config: CalibrationConfig,
    changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Write the grids that observers found into a graph, in place.

    Args:
        draft: the graph.
        classified: its operators.
        placement: where grids stand.
        observers: what saw the tensors of each grid.
        fixed: the grids that pixels have.
        config: how weights are quantised.
        changes: what is different for some layers, by the tensors that they make.
    """
    seen = _with_tables(observers, classified, placement)
    grids = {
        name: activation_grid(spec, *seen[name].range(spec.bits))
        for name, spec in placement.grids.items()
    }
    prescribe(grids, placement, classified.makers, fixed)
    bound_reciprocals(grids, placement, classified.makers, classified.sources(placement))
    placement = share_like_grids(placement, grids, classified.stored_parts())
    insert(draft, classified, placement, grids, config, changes)


def _with_tables(
    observers: Mapping[str, RangeObserver], classified: Classified, placement: Placement
) -> Mapping[str, RangeObserver]:
    """The observers, those of tables once they have seen all rows: also those no sample picks."""
    seen = dict(observers)
    for tensor, grid in placement.tensors.items():
        maker = classified.makers.get(tensor)
        table = floats(maker, 0) if maker is not None and is_embedding(maker) else None
        if table is not None:
            seen[grid] = copy.deepcopy(seen[grid]) if seen[grid] is observers[grid] else seen[grid]
            seen[grid].update(table.astype(np.float32))
    return seen


def _state(graph: ir.Graph) -> str:
    """A hash of the operators and the constants of a graph."""
    digest = hashlib.sha256(str([node.op_type for node in graph]).encode())
    for name, value in sorted(graph.initializers.items()):
        if value.const_value is not None:
            digest.update(name.encode() + value.const_value.tobytes())
    return digest.hexdigest()


def _unchanged(before: str, graph: ir.Graph) -> str:
    """What is to be added to what a method did, where it did nothing."""
    return "; nothing in this model was changed by it" if _state(graph) == before else ""


def _describe(model: ir.Model, config: CalibrationConfig, statistics: Statistics) -> None:
    model.producer_name, model.producer_version = "edgeq", edgeq.__version__
    data, samples = statistics.origin.data, statistics.samples
    model.metadata_props.update(
        {
            "edgeq_version": edgeq.__version__,
            "scheme": config.scheme,
            "calibration": f"{data}; {counted(samples, 'sample')}; {config.found_by}",
            "calibration_data_sha256": statistics.data_sha256,
            "calibration_versions": ", ".join(f"{name} {version(name)}" for name in _RUNTIMES),
        }
    )
    if config.methods:
        model.metadata_props["ptq_methods"] = ", ".join(config.methods)
