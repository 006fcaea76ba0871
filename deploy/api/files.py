"""``edgeq.calibrate``, ``lint``, ``diff``, ``bounds``, ``load_data`` and the list of targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.data.preprocessing import Preprocessing
from edgeq.deploy import inputs, listing
from edgeq.deploy.api.networks import as_files
from edgeq.deploy.bounds import run as bounding
from edgeq.deploy.device_advice import suited
from edgeq.deploy.diff import run as diffing
from edgeq.deploy.lint import run as linting
from edgeq.deploy.preprocessing import ALL_VALUES, AskedPreprocessing
from edgeq.errors import OutputError
from edgeq.tabular import Table, Tabular, counted
from edgeq.targets.devices import find
from edgeq.targets.isolation import apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.calibration.inspection.layer_costs import LayerCost
    from edgeq.data import DataSource
    from edgeq.deploy.bounds.run import Bounds
    from edgeq.deploy.diff.run import FileDiff
    from edgeq.deploy.evaluation.calibrated import Outcome, Trials
    from edgeq.deploy.lint.run import LintReport
    from edgeq.deploy.listing import TargetRow
    from edgeq.results import Comparison


@dataclass(frozen=True, slots=True, repr=False)
class CalibratedFile(Tabular):
    """A QDQ file that was written.

    Attributes:
        path: the file.
        size_bytes: its size.
        samples: how many samples it was calibrated on.
        observer: how ranges were found.
        data: the data set's name.
        held_back: the float and the calibrated network on samples that calibration has not seen;
            None where they cannot be judged.
        not_judged: why not; empty where they were.
        collapsed: what another choice does better on samples held back, or on those of the
            calibration where there are none; empty for nothing.
        layers: what each layer costs and why, the most costly first.
        told: what methods did, and how near the outputs are to float.
        trials: how far the result depends on the samples; None where no other sets were tried.
    """

    path: Path
    size_bytes: int
    samples: int
    observer: str
    data: str
    held_back: Comparison | None = None
    not_judged: str = ""
    collapsed: str = ""
    layers: tuple[LayerCost, ...] = ()
    told: tuple[str, ...] = ()
    trials: Trials | None = None

    def table(self) -> Table:
        """Its fields, one a column."""
        return Table(
            f"{self.path} calibrated",
            ("kB", "samples", "data", "observer"),
            [(f"{self.size_bytes / 1000:.1f}", f"{self.samples:,}", self.data, self.observer)],
        )


@dataclass(frozen=True, slots=True, repr=False)
class Targets(Tabular):
    """The targets, in the order of their names; it is a sequence of them.

    Attributes:
        rows: what is known of each.
    """

    rows: tuple[TargetRow, ...]

    def __iter__(self) -> Iterator[TargetRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> TargetRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def table(self) -> Table:
        """Each target, and what keeps it from working here."""
        usable = sum(row.usable for row in self.rows)
        return Table(
            f"{counted(usable, 'target', 'work', of=len(self.rows))} here",
            ("target", "works", "opens", "about"),
            [
                (
                    row.name,
                    "yes" if row.usable else "no",
                    ", ".join(row.formats),
                    row.summary if row.usable else row.why_not,
                )
                for row in self.rows
            ],
        )


@apart()
def calibrate(
    model: str | Path | nn.Module,
    data: DataSource | str,
    path: str | Path,
    *,
    config: CalibrationConfig | None = None,
    samples: int = 500,
    outputs: Sequence[str] = (),
    device: str = "",
    statistics: str | Path | None = None,
    held_back: int = 200,
    trials: int = 0,
    allow_noise: bool = False,
    skip_broken: bool = False,
    explain: str | Path | None = None,
    overwrite: bool = False,
) -> CalibratedFile:
    """Quantise a float network after training, on samples of the training split.

    Args:
        model: a float ONNX file, the checkpoint or folder of an FP32 training, or a float network.
        data: a data set, or the name of one.
        path: the QDQ ONNX file to write; ends in ``.onnx``.
        config: how ranges are found and weights become integers.
        samples: how many samples are used, at most.
        outputs: the tensors at which the network is cut; its own outputs by default.
        device: what the file is for, a name of :mod:`edgeq.targets.devices`: it chooses
            ``per_channel`` and ``pair_safe`` of the config. Empty for none.
        statistics: the folder of what was measured in shards (``edgeq calibrate --shard``); the
            samples are not run again.
        held_back: how many samples that calibration has not seen judge the result, at most.
        trials: calibrate on so many further sets of samples, drawn with the seeds from 0, and tell
            how far the result depends on them.
        allow_noise: take samples that look like random noise.
        skip_broken: leave out samples that cannot be read; else the first of them is an error.
        explain: the page to write, which shows what became of each layer.
        overwrite: replace a file that exists.

    Raises:
        ArtefactError: the network is broken, quantised already, cannot be quantised, or does not
            fit the data.
        UsageError: no training samples, or an unknown name.
        OutputError: the file exists, cannot be written, or is no ``.onnx`` file.
    """
    from edgeq.calibration.config import CalibrationConfig
    from edgeq.deploy.evaluation.calibrated import check_judging, judged, trials_of
    from edgeq.deploy.pipeline import calibrate as pipeline
    from edgeq.deploy.pipeline.shards import gathered
    from edgeq.deploy.runs.page import check_page
    from edgeq.files import check_output

    path = Path(path)
    if path.suffix != ".onnx":
        raise OutputError(f"{path} does not end in .onnx", hint="name an .onnx file")
    check_output(path, overwrite=overwrite)
    if explain is not None:
        check_page(Path(explain), overwrite=overwrite)
    chosen = config or CalibrationConfig()
    if device:
        chosen = suited(chosen, find(device))
    source = inputs.data_for([model], data)
    with as_files([model], source) as (file,):
        job = pipeline.Job(
            file, source, chosen, samples, outputs, allow_noise, skip_broken=skip_broken
        )
        check_judging(job, held_back, trials)
        shards = None if statistics is None else gathered(job, Path(statistics))
        done = pipeline.calibrate(
            job, path, overwrite=overwrite, statistics=shards, explain=explain is not None
        )
        outcome = judged(job, path, done, held_back)
        tried = trials_of(job, trials, held_back) if trials else None
        if explain is not None:
            known = find(device) if device else None
            _explain(outcome, outcome.content(tried, known), Path(explain), overwrite=overwrite)
    return CalibratedFile(
        path,
        done.size_bytes,
        done.samples,
        chosen.found_by,
        source.name,
        outcome.held_back,
        outcome.not_judged,
        outcome.collapsed,
        done.layers,
        done.told,
        tried,
    )


def _explain(
    outcome: Outcome, content: Mapping[str, object], path: Path, *, overwrite: bool
) -> None:
    """Write the page of a calibration that kept profiles of its layers."""
    from edgeq.deploy import console
    from edgeq.deploy.report.documents import document_of
    from edgeq.deploy.runs.drawings import layer_drawings
    from edgeq.deploy.runs.page import write_page

    drawings = layer_drawings(outcome.done.profiles)
    document = console.document_of("calibrate", content)
    page = document_of(document, outcome.path.name, drawings=drawings)
    title = f"Calibration of {outcome.job.path.name}"
    write_page(path, [] if page is None else [page], title, overwrite=overwrite)


def lint(file: str | Path, *, device: str = "") -> LintReport:
    """Say what is wrong with a quantised file; nothing is run.

    Args:
        file: an ONNX or TFLite file, of any tool.
        device: a name of :mod:`edgeq.targets.devices` to have advice about, or the path of such a
            file; empty for none.

    Raises:
        ArtefactError: the file is missing or broken.
        UsageError: it is a checkpoint, or nothing is known of the device.
    """
    return linting.lint(Path(file), device=find(device) if device else None)


def diff(first: str | Path, second: str | Path) -> FileDiff:
    """Say what differs between two files, without running either.

    Layers and grids are paired by name, else by their order, across formats too. Scales times a
    factor, zero points moved, channels in another order, weights and biases are told as what they
    are. Operators, attributes and other constants are compared where both files have one format. Of
    a float ONNX file and a quantised one, what quantisation explains is counted.

    Args:
        first: the one that is taken as right: an ONNX or TFLite file of any tool, a checkpoint or a
            training folder.
        second: the other.

    Raises:
        ArtefactError: a file is missing or broken.
    """
    return diffing.diff(Path(first), Path(second))


def bounds(
    file: str | Path,
    data: DataSource | str | None = None,
    *,
    drift: bool = False,
    targets: Sequence[str] = (),
    split: str = "test",
    limit: int | None = None,
    threads: int = 1,
    origin: str | Path | None = None,
) -> Bounds:
    """Say what a file provably never does.

    Args:
        file: an ONNX or TFLite file of any tool, a checkpoint or a training folder.
        data: a data set, or the name of one, on whose samples to bound how far answers can be from
            FP32; None to bound sums alone.
        drift: whether to bound answers for every input, too.
        targets: runtimes whose answers are held against the bound.
        split: which part of the data.
        limit: how many samples of it, spread evenly; None for all.
        threads: the most threads a runtime may use.
        origin: the float ONNX file that it was made from, to bound what rounding its weights
            changed.

    Raises:
        ArtefactError: the file is missing, broken, or does not fit the data.
        UsageError: an operator has no bound.
        TargetError: a runtime is absent or refuses the file.
    """
    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples
    from edgeq.deploy.evaluation.stage_runner import select

    path, samples = Path(file), None
    if data is not None:
        source = inputs.data_for([path], data)
        samples = Samples(source, select(source, split, limit))
    with apart():
        return bounding.bounds(
            path,
            drift=drift,
            samples=samples,
            targets=targets,
            threads=threads,
            origin=None if origin is None else Path(origin),
        )


def load_data(
    data: object,
    folder: str | Path | None = None,
    *,
    preprocess: str | Mapping[str, Any] | Preprocessing | None = None,
) -> DataSource:
    """Read a data set.

    Args:
        data: a name of ``edgeq data``, a folder or file, or ``package.module:function``, which is
            imported and called. Or what such a function may return: arrays, a ``torch`` data set, a
            Hugging Face data set, or two or several of these.
        folder: where registered data sets are; else what ``EDGEQ_DATA`` names.
        preprocess: how samples are fed: ``dataset``, ``imagenet`` or ``raw``, a TOML file, or the
            fields of a :class:`edgeq.data.Preprocessing`; as the data have it where it is None.

    Raises:
        UsageError: an unknown name, no data, a preprocessing that does not suit them, or no folder
            is named.
        ArtefactError: the files are missing or broken.
    """
    if isinstance(preprocess, str):
        asked = AskedPreprocessing(preprocess)
    elif isinstance(preprocess, Preprocessing):
        asked = AskedPreprocessing(settings={**ALL_VALUES, **preprocess.to_dict()})
    else:
        asked = AskedPreprocessing(settings=preprocess or {})
    return inputs.load_data(data, None if folder is None else Path(folder), asked)


def targets(name: str | None = None) -> Targets:
    """The runtimes, and which of them work here.

    Args:
        name: one of them; None for all.

    Raises:
        UsageError: no target has this name.
    """
    return Targets(tuple(listing.list_targets(name)))
