"""Post-training quantisation of a file or checkpoint.

It is calibrated on evenly spread samples of the training split. Of data that have one part a share
is set aside for it, at random but always the same, and noted, so that nothing is judged by it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.data.batching import fed
from edgeq.data.checks import check, left_out, readable
from edgeq.data.splitting import set_aside
from edgeq.deploy.pipeline.calibration_recipe import NOTE, CalibrationRecipe
from edgeq.deploy.pipeline.noise import refuse_noise
from edgeq.errors import ArtefactError, EdgeqError, OutputError, UsageError
from edgeq.files import in_use, keeping, name_beside, write_bytes
from edgeq.formats.artefact import detect, resolve
from edgeq.formats.preprocessing_note import note, set_aside_note
from edgeq.network.loading import LOADERS
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.calibration.inspection.layer_costs import LayerCost
    from edgeq.calibration.inspection.profiles import LayerProfile
    from edgeq.calibration.statistics import Statistics
    from edgeq.data import DataSource, Split
    from edgeq.target import Batch

BATCH = 32
_JUDGING = 16  # samples held back that tell what layers cost


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A QDQ file that was written.

    Attributes:
        size_bytes: of the file.
        samples: how many it was calibrated on.
        split: whose samples they are.
        layers: what each layer costs, the most costly first.
        told: what was said on the way: what methods did, and how near the outputs are to float.
        profiles: ranges and distributions of each layer, in the network's order, where asked for.
        judged_on: the samples that tell what layers cost, in words.
    """

    size_bytes: int
    samples: int
    split: str
    layers: tuple[LayerCost, ...] = ()
    told: tuple[str, ...] = ()
    profiles: tuple[LayerProfile, ...] = ()
    judged_on: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What is calibrated, on what, and how.

    Attributes:
        path: a float ONNX file, or the checkpoint or folder of an FP32 training.
        source: the data.
        config: how ranges are found and weights quantised.
        samples: how many samples of the training split are used, at most; of data that have one
            part, half of them at most.
        outputs: the tensors at which the network is cut; its own outputs by default.
        allow_noise: whether samples without labels may be random noise.
        seed: draws the samples; None takes them evenly spread.
        skip_broken: leave out samples that cannot be read or hold NaN, and say which.
        given: what a person typed for the data; empty where they were given as an object.
        network: what a person typed for the network; the path where it is empty.
    """

    path: Path
    source: DataSource
    config: CalibrationConfig
    samples: int = 500
    outputs: Sequence[str] = ()
    allow_noise: bool = False
    seed: int | None = None
    skip_broken: bool = False
    given: str = ""
    network: Sequence[str] = ()
    _readable: list[NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)

    __repr__ = brief

    @property
    def split(self) -> str:
        """The split whose samples are used."""
        return "train" if len(self.source.train) else "test"

    @property
    def chosen(self) -> NDArray[np.int64]:
        """Which samples of the split are used.

        Raises:
            UsageError: there are none.
            ArtefactError: all are broken, and to be left out.
        """
        if not self.skip_broken:
            return self.asked
        if not self._readable:
            self._readable.append(self._without_broken())
        return self._readable[0]

    def _without_broken(self) -> NDArray[np.int64]:
        asked = self.asked
        kept = readable(getattr(self.source, self.split), asked)
        if not len(kept):
            raise ArtefactError(
                f"none of {counted(len(asked), 'sample')} can be read",
                hint="leave out --skip-broken to see why",
            )
        return kept

    def broken(self) -> str:
        """The samples that are left out, in words; empty for none."""
        return left_out(getattr(self.source, self.split), self.asked, self.chosen)

    @property
    def asked(self) -> NDArray[np.int64]:
        """The samples, broken ones among them."""
        available = len(getattr(self.source, self.split))
        if self.seed is None and self.split == "train":
            return spread(available, self.samples)
        pool = self._aside(available) if self.split == "test" else np.arange(available)
        if self.seed is None:
            return pool
        return np.sort(np.random.default_rng(self.seed).permutation(pool)[: self.samples])

    def check_samples(self) -> None:
        """Refuse samples that cannot be used, and random noise unless it is asked for.

        Of samples with labels, the score of the float network tells what they are worth.

        Raises:
            UsageError: the samples are noise or of several sizes, or there are none.
            ArtefactError: some are broken.
        """
        part: Split = getattr(self.source, self.split)
        check(part.take(self.chosen), self.source.preprocessing)
        if part.labels is None and not self.allow_noise:
            refuse_noise(next(self.batches(0, 1)), self.source.name)

    def free(self, chosen: Sequence[NDArray[np.int64]] = ()) -> NDArray[np.int64]:
        """The places of test samples that calibration has not seen.

        Args:
            chosen: further samples of data of one part that count as seen.
        """
        places = np.arange(len(self.source.test), dtype=np.int64)
        if self.split == "test":
            places = np.setdiff1d(places, np.concatenate([self.asked, *chosen]))
        return places

    def held_back(self) -> list[Batch]:
        """A few samples that calibration has not seen; none where none can be read."""
        free = self.free()
        where = free[np.linspace(0, len(free) - 1, min(_JUDGING, len(free))).astype(np.int64)]
        try:
            part = self.source.test.take(readable(self.source.test, where))
            return [batch for batch, _ in fed(part, self.source, _JUDGING // 4)]
        except EdgeqError:  # of another size than others, for example: judging them says so
            return []

    def _aside(self, available: int) -> NDArray[np.int64]:
        """Of data that have one part, those that nothing is judged by.

        With a seed the samples are drawn from all that can be spared.
        """
        _ = spread(available, self.samples)  # which refuses what leaves none
        return set_aside(available, self.samples if self.seed is None else available)

    def model(self) -> ir.Model:
        """The float network.

        Raises:
            ArtefactError: it is broken, quantised already, or made for batches of several samples.
        """
        from edgeq.formats.subgraph import cut

        found = cut(float_model(resolve(self.path)), self.outputs)
        _require_any_batch(found)
        return found

    def batches(self, first: int = 0, last: int | None = None) -> Iterator[Batch]:
        """The samples as the network is fed them, from one batch to before another."""
        part: Split = getattr(self.source, self.split)
        where = self.chosen[first * BATCH : None if last is None else last * BATCH]
        return (samples for samples, _ in fed(part.take(where), self.source, BATCH))


def calibrate(
    job: Job,
    output: Path,
    *,
    overwrite: bool = False,
    statistics: Statistics | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    tell: Callable[[str], None] = lambda _line: None,
    explain: bool = False,
    stage: Callable[[str], None] = lambda _what: None,
) -> Calibrated:
    """Quantise a float network and write it as canonical QDQ ONNX.

    What is done is kept in ``OUTPUT.resume`` from time to time. After an interruption the same
    call goes on from there, to the same bytes; at the end the file is gone.

    Args:
        job: the network, the data, and how.
        output: the file to write.
        overwrite: replace ``output``.
        statistics: what was seen of the samples already.
        progress: called with the samples done and the samples in all, then, for each method, with
            the layers done and the layers in all.
        tell: called with what each method did, and with how near each output is to float.
        explain: also keep ranges and distributions of each layer.
        stage: called with what begins: the measuring, and each method with each of its layers.

    Raises:
        ArtefactError: the network is broken, quantised already, cannot be quantised, or does not
            fit the data.
        UsageError: no training samples.
        OutputError: ``output`` exists, cannot be written, is the source, or another process
            calibrates into it.
    """
    from edgeq.calibration.observe import that_fit
    from edgeq.calibration.quantize import quantize_onnx
    from edgeq.calibration.statistics.resume import Progress
    from edgeq.exporters.onnx.dialects import to_dialect
    from edgeq.formats.dialect import CANONICAL
    from edgeq.formats.onnx_io import serialize

    if output.resolve() == resolve(job.path).resolve():
        raise OutputError(
            f"{output} is what is being calibrated", hint="choose another place with -o/--output"
        )
    with in_use(output.parent, "calibrating", output.name):
        job.check_samples()
        if job.skip_broken and (lost := job.broken()):
            tell(lost)
        count = len(job.chosen)
        judging = job.held_back()
        layers: list[LayerCost] = []
        profiles: list[LayerProfile] = []
        said: list[str] = []

        def telling(line: str) -> None:
            said.append(line)
            tell(line)

        going_on = output.with_name(name_beside(output.name, after=".resume"))
        resume = Progress(going_on, tell=tell)
        with keeping(going_on, "the same command goes on from there", resume.kept):
            model = quantize_onnx(
                job.model(),
                job.batches(),
                job.config,
                data=job.source.name,
                progress=adding_up(progress, count),
                layers=progress,
                tell=telling,
                statistics=statistics,
                resume=resume,
                inspect=layers.extend,
                explain=profiles.extend if explain else None,
                stage=stage,
                judging=judging,
            )
        for each in layers:
            if each.dead == each.channels:
                telling(
                    f"warning: the layer {each.layer!r} answers the same for every sample\n"
                    "  hint: look at the network and its preprocessing: its range says nothing"
                )
        _write_notes(model, job)
        content = serialize(to_dialect(model, CANONICAL))
        write_bytes(output, content, overwrite=overwrite)
        resume.finish()
        fit = that_fit(judging, model)
        judged_on = "samples held back" if fit else "samples of the calibration"
        return Calibrated(
            len(content), count, job.split, tuple(layers), tuple(said), tuple(profiles), judged_on
        )


def _write_notes(model: ir.Model, job: Job) -> None:
    """What a calibrated file says of its data and of how it was made."""
    model.metadata_props.update(note(job.source.preprocessing.to_dict()))
    if job.split == "test":
        whole = len(job.source.test)
        aside = len(job.asked) if job.seed is None else whole
        model.metadata_props.update(set_aside_note(job.source.name, whole, aside))
    recipe = CalibrationRecipe(job.config, job.samples)
    model.metadata_props[NOTE] = json.dumps(recipe.to_dict(), sort_keys=True)


def adding_up(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """What is called with the work of one more step, of what is called with all that is done."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, total)

    return count


def _require_any_batch(model: ir.Model) -> None:
    """Return where the batch of a network's only input is one, or free.

    Raises:
        ArtefactError: it is fixed at several samples, and no runtime could be fed with the file.
    """
    inputs = [value for value in model.graph.inputs if value.const_value is None]
    axes = [] if len(inputs) != 1 or inputs[0].shape is None else list(inputs[0].shape)
    if axes and isinstance(axes[0], int) and axes[0] != 1:
        sizes = ", ".join("any" if not isinstance(size, int) else str(size) for size in axes)
        raise ArtefactError(
            f"the input {inputs[0].name!r} has the shape [{sizes}], and edgeq runs files whose "
            "batch is one or of any size",
            hint="export the network with a batch of 1, or with a free one (dynamic_axes or "
            "dynamic_shapes of torch.onnx.export)",
        )


def float_model(path: Path) -> ir.Model:
    """The float network of a file or checkpoint.

    Raises:
        ArtefactError: it is broken, or quantised already.
    """
    kind = detect(path)
    if kind == "tflite":
        raise ArtefactError(
            f"{path} is a TFLite file, and only ONNX files and checkpoints can be calibrated",
            hint="calibrate the network that it was made from, or what `python -m tf2onnx.convert "
            "--tflite FILE --output net.onnx`, which needs TensorFlow, makes of a float one; a "
            "quantised one is run as it is by edgeq compare, lint and gate",
        )
    if kind != "checkpoint":
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


def spread(available: int, wanted: int) -> NDArray[np.int64]:
    """Which samples to use: evenly spread over the split, whose files may be sorted by class."""
    if available == 0 or wanted < 1:
        raise UsageError(
            "there are no samples to calibrate on",
            hint="choose data with samples, and 1 sample or more",
        )
    return np.linspace(0, available - 1, min(wanted, available)).astype(np.int64)
