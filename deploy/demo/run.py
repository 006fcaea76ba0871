"""The whole pipeline on the embedded data: train, export, run everywhere, compare, report."""

from __future__ import annotations

import json
import shlex
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgeq.deploy import console
from edgeq.deploy.demo.content import LayerCurve, ModelRow, Report
from edgeq.deploy.demo.contrasts import CONFIG, converted, planted_fault
from edgeq.deploy.demo.verdict import Contrast, Trained, told
from edgeq.deploy.evaluation.chain import chain, usable_targets
from edgeq.deploy.evaluation.compare import compare, shorten
from edgeq.deploy.evaluation.profile import profile
from edgeq.deploy.pipeline.export import export
from edgeq.deploy.pipeline.parallel_training import finished, worker_pool
from edgeq.deploy.report.documents import document_of
from edgeq.deploy.runs.drawings import drawings
from edgeq.deploy.runs.page import write_page
from edgeq.errors import OutputError
from edgeq.exporter import ExportOptions
from edgeq.files import check_output, write_json
from edgeq.machine import fingerprint
from edgeq.tabular import counted
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.deploy.console import Advance
    from edgeq.results import Profile
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.loop import TrainingResult

MODELS = ("stable-resnet8", "resnet8")
WIDTHS = (None, (4, 8), (4, 4))
EPOCHS = 20  # with these batches and rates, enough for 99 % in less than a minute on two cores
BATCH = 64
RATE = 0.3
# and a warm-up, for each file on each target: thirty of them make a quarter of a minute
SECONDS = 0.3


def run(
    folder: Path,
    *,
    data: str = "digits",
    epochs: int = EPOCHS,
    seed: int = 0,
    overwrite: bool = False,
    seconds: float = SECONDS,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], AbstractContextManager[Advance]] = lambda _what: nullcontext(
        lambda _done, _total: None
    ),
) -> Report:
    """Train the stable and the baseline ResNet-8 in three schemes, and run them everywhere.

    Args:
        folder: where checkpoints, exported files, ``report.html`` and ``report.json`` go.
        data: a data set's name.
        epochs: of each training.
        seed: of each training.
        overwrite: replace an earlier demo, but for networks that it trained by the same recipe.
        seconds: how long each artefact is timed on each target.
        say: called with a line for people as each part is done.
        progress: gives what to call with the work done and the work in all, of each part by its
            name.

    Raises:
        OutputError: ``folder`` holds an earlier demo, or cannot be written.
        Interrupted: Ctrl-C; what is trained so far is kept.
    """
    from edgeq.data import load

    if (folder / "report.html").exists() and not overwrite:
        raise OutputError(
            f"{folder} holds a demo already",
            hint="add --overwrite, or choose another place with -o/--output",
        )
    check_output(folder / "report.html", overwrite=True)
    say(f"reading {data}")
    source = load(data)
    runs = {
        folder / recipe.name.replace(" ", "-").replace("/", ""): recipe
        for recipe in _recipes(data, epochs, seed)
    }
    kept = {path for path, recipe in runs.items() if finished(path, recipe)}
    if kept:
        say(
            f"{counted(len(kept), 'network', 'are', of=len(runs))} kept as an earlier demo trained "
            f"them; to train them again, remove {folder}"
        )

    def tell(path: Path, result: TrainingResult) -> None:
        if path not in kept:
            say(
                f"{runs[path].name}: {result.test_correct} of {result.test_total} right "
                f"after {result.seconds:.0f} s of training"
            )

    with worker_pool(len(runs)) as workers:
        if len(kept) < len(runs):
            say(
                f"training {counted(len(runs) - len(kept), 'network')}, "
                f"{counted(epochs, 'epoch')} each"
            )
        with progress("training") as advance:
            workers.train(runs, source, overwrite=overwrite, progress=advance, done=tell)
        say("exporting every network to ONNX and TFLite, and running it on every target")
        with progress("exporting and comparing") as advance:
            nets = workers.each(
                examined, [(recipe, source, path) for path, recipe in runs.items()], advance
            )
    pairs = [
        pair
        for net in nets
        for pair in chain([path for kind, path in net.artefacts.items() if kind != "checkpoint"])
    ]
    failed = {failure.name for net in nets for failure in net.comparison.failures}
    pairs = [pair for pair in pairs if f"{pair.artefact.name} @ {pair.target}" not in failed]
    say(f"timing {counted(len(pairs), 'pair')} of file and target, {seconds:g} s each, interleaved")
    profiles = profile(pairs, source=source, seconds=seconds)
    command = shlex.join(
        ["edgeq", "demo", "-o", str(folder), "--epochs", str(epochs), "--seed", str(seed)]
    )
    say("converting a float network after its training, and planting a fault for a gate to find")
    contrast = _contrast(nets, folder, source)
    report = _report(nets, profiles, source, command, contrast, folder)
    written = console.document_of("demo", {"folder": str(folder), "report": report})
    write_json(folder / "report.json", written, overwrite=overwrite)
    shown = document_of(written, "demo", created=report.created, command=command)
    write_page(folder / "report.html", [shown] if shown else [], report.title, overwrite=overwrite)
    return report


def _recipes(data: str, epochs: int, seed: int) -> list[Recipe]:
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.recipes.scheme import Scheme

    schemes = [None if widths is None else Scheme(*widths) for widths in WIDTHS]
    return [
        Recipe(model, data, scheme, epochs, BATCH, RATE, seed=seed)
        for model in MODELS
        for scheme in schemes
    ]


def examined(recipe: Recipe, source: DataSource, run: Path) -> Trained:
    """Export and compare one trained network; the fleet does so in its processes."""
    from edgeq.data import batches
    from edgeq.models.macs import count_parameters
    from edgeq.models.zoo import build
    from edgeq.training.activation_error import activation_error
    from edgeq.training.checkpoint import load_model

    checkpoint = run / "best.safetensors"
    exported = export(
        checkpoint, ("onnx", "tflite"), run.parent, ExportOptions(), stem=run.name, overwrite=True
    )
    artefacts = {"checkpoint": checkpoint, **{file.format: file.path for file in exported}}
    error = (
        None
        if recipe.scheme is None
        else activation_error(load_model(checkpoint).module, batches(source.test, source, 128))
    )
    pairs = chain(list(artefacts.values()))
    found = compare(pairs, source)
    named = {name: path for path, name in shorten([pair.artefact for pair in pairs]).items()}
    answers = {stage.target: found.answers[stage.name] for stage in found.comparison.stages}
    changed = {
        name: int((mine != answers["torch"]).sum())
        for name, mine in answers.items()
        if not name.startswith("torch")
    }
    parameters = count_parameters(
        build(recipe.model, classes=len(source.classes), in_channels=source.shape[0])
    )
    return Trained(
        recipe,
        parameters,
        artefacts,
        tuple(file.parity for file in exported),
        error,
        found.comparison,
        changed,
        json.loads(drawings(found.comparison, found.answers, named, source, "test")),
    )


def _contrast(nets: Sequence[Trained], folder: Path, source: DataSource) -> Contrast | None:
    """The first quantised network of the fewest bits, against what it is not."""
    model = nets[0].recipe.model
    mine = [net for net in nets if net.recipe.model == model]
    floats = next((net for net in mine if net.recipe.scheme is None), None)
    exact = mine[-1]
    if floats is None or exact.recipe.scheme is None:
        return None
    scheme = exact.recipe.scheme
    widths = (scheme.weight_bits, scheme.act_bits)
    after = converted(
        floats.artefacts["checkpoint"], widths, source, folder / f"{model}-converted.onnx"
    )
    planted = planted_fault(exact.artefacts["onnx"], folder / "gate", source)
    return Contrast(exact, after, planted)


def _report(
    nets: Sequence[Trained],
    profiles: Sequence[Profile],
    source: DataSource,
    command: str,
    contrast: Contrast | None,
    folder: Path,
) -> Report:
    usable = usable_targets()
    missing = [name for name in TARGETS.names() if name not in usable]
    notes = (
        [f"Not usable on this machine, or run only where named, so left out: {', '.join(missing)}."]
        if missing
        else []
    )
    quantized_first = sorted(nets, key=lambda net: net.error is None)
    said = [(line, state) for line, state in told(nets, len(source.classes), contrast)]
    exact, rules = nets[-1].artefacts, str(folder / "gate" / CONFIG)
    return Report(
        title=f"edgeq demo: stable and baseline networks on {source.name}",
        created=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        command=command,
        data=source.name,
        samples=len(source.test),
        machine=fingerprint(),
        rows=tuple(_row(net, profiles) for net in nets),
        curves=tuple(
            LayerCurve(net.recipe.model, net.scheme, net.stable, net.error.blocks)
            for net in nets
            if net.error is not None
        ),
        comparisons=tuple((net.recipe.name, net.comparison) for net in quantized_first),
        drawings=tuple(net.drawings for net in quantized_first),
        profiles=tuple(profiles),
        notes=tuple(notes),
        verdict=tuple(line for line, _ in said),
        states=tuple(state for _, state in said),
        next=(
            f"See the gate fail: {shlex.join(['edgeq', 'gate', '--config', rules])}",
            f"See where runtimes part, and why: {_command('why', exact, source)}",
            f"Name files and data of your own instead: {_command('compare', exact, source)}",
        ),
        gate=None if contrast is None else contrast.planted.result,
    )


def _command(name: str, artefacts: Mapping[str, Path], source: DataSource) -> str:
    """A command on the files of a network."""
    files = [str(path) for kind, path in artefacts.items() if kind != "checkpoint"]
    return shlex.join(["edgeq", name, *files, "--data", source.name])


def _row(net: Trained, profiles: Sequence[Profile]) -> ModelRow:
    files = {path.name for path in net.artefacts.values()}
    quantized = net.error is not None
    stages = [stage for stage in net.comparison.stages if stage.accuracy is not None]
    return ModelRow(
        net.recipe.model,
        net.scheme,
        net.stable,
        net.parameters,
        accuracy={stage.target: stage.accuracy for stage in stages if stage.accuracy is not None},
        activation_mse=net.error.mse if net.error is not None else None,
        activation_rmse=net.error.rmse if net.error is not None else None,
        sqnr_db=net.comparison.from_reference[-1].output.sqnr_db if quantized else None,
        latency={
            p.target: p.latency for p in profiles if p.artefact in files and p.kind == "measured"
        },
        size_bytes={
            kind: path.stat().st_size
            for kind, path in net.artefacts.items()
            if kind != "checkpoint"
        },
    )
