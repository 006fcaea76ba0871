"""``edgeq.compare``, ``profile``, ``audit``, ``emulate``, ``survey`` and ``gate``.

What runs artefacts on targets. Files of other tools are opened in processes of their own, but for
``EDGEQ_IN_PROCESS=1``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.deploy.api.networks import as_files
from edgeq.deploy.depth.growth import compare_by_depth
from edgeq.deploy.evaluation import audit as auditing
from edgeq.deploy.evaluation import compare as comparing
from edgeq.deploy.evaluation import emulation
from edgeq.deploy.evaluation import profile as profiling
from edgeq.deploy.evaluation import survey as surveying
from edgeq.deploy.evaluation.chain import chain
from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.deploy.evaluation.saturation.pair_saturation import Samples
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.deploy.gate import run as gating
from edgeq.deploy.gate.config import FILE, GateConfig
from edgeq.deploy.gate.reading import read_config, read_rules
from edgeq.deploy.inputs import data_for
from edgeq.errors import UsageError
from edgeq.targets.isolation import apart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from edgeq.data import DataSource
    from edgeq.deploy.evaluation.audit import Audit
    from edgeq.deploy.evaluation.emulation import Emulation
    from edgeq.deploy.evaluation.profiling.result import Profiled
    from edgeq.deploy.evaluation.survey import Survey
    from edgeq.deploy.gate.result import GateResult
    from edgeq.deploy.why.records import Why
    from edgeq.results import Comparison


def compare(
    files: Sequence[str | Path | nn.Module],
    data: DataSource | str,
    *,
    targets: Sequence[str] = (),
    split: str = "test",
    limit: int | None = None,
    task: str | None = None,
    task_options: Mapping[str, str] | None = None,
    threads: int = 1,
    tensors: bool = True,
    growth: bool = False,
    statistics: str | Path | None = None,
) -> Comparison:
    """Run files and networks on runtimes over the same samples, and find where they part.

    Args:
        files: checkpoints, ONNX files or TFLite files; and networks as they are, float or of
            ``edgeq.quantize``, which PyTorch runs.
        data: a data set, or the name of one.
        targets: the names of the runtimes; all that are usable here where none is named.
        split: which part of the data.
        limit: how many samples of it, spread evenly; None for all.
        task: what the answers are judged by: a name of ``edgeq.tasks``, or ``module:function``;
            None for the task of the data.
        task_options: of the task.
        threads: the most threads a runtime may use.
        tensors: whether to compare the tensors inside too.
        growth: whether to tell how errors grow from block to block; then the first quantised file
            also runs with its activations cut off at the ends of their grids and not rounded.
        statistics: the folder of what was run in shards (``edgeq compare --shard``); the stages run
            now where it is None.

    Returns:
        Accuracy of each stage, and drift from each to the next. A stage that failed is in
        ``failures``.

    Raises:
        UsageError: no file, an unknown name, or a file that no target opens.
        ArtefactError: a file is missing, broken, or does not fit the data.
        TargetError: no target works here.
    """
    source = data_for(files, data)
    with as_files(files, source) as paths, apart():
        run = compare_by_depth if growth else comparing.compare
        return run(
            chain(paths, targets),
            source,
            split=split,
            limit=limit,
            threads=threads,
            tensors=tensors,
            statistics=None if statistics is None else Path(statistics),
            task=AskedTask(task or "", task_options or {}),
        ).comparison


def why(
    files: Sequence[str | Path | nn.Module],
    data: DataSource | str,
    *,
    targets: Sequence[str] = (),
    split: str = "test",
    limit: int | None = None,
    task: str | None = None,
    task_options: Mapping[str, str] | None = None,
    threads: int = 1,
    reduce_to: str | Path | None = None,
) -> Why:
    """Say at which step a network goes wrong, in which operator, and why.

    Each operator is judged given equal inputs, so that what differs by rounding alone is exact.

    Args:
        files: as of :func:`compare`; the first quantised one is taken as right, and also runs on
            the reference of its format.
        data: a data set, or the name of one.
        targets: the names of the runtimes; all that are usable here where none is named.
        split: which part of the data.
        limit: how many samples of it, spread evenly; None for all.
        task: as of :func:`compare`.
        task_options: of the task.
        threads: the most threads a runtime may use.
        reduce_to: a folder for the smallest files that fail, an input, and a script that shows it.

    Returns:
        A verdict for each stage, and the causes. A stage that failed is in ``failures``.

    Raises:
        UsageError: no file, an unknown name, or a file that no target opens.
        ArtefactError: a file is missing, broken, or does not fit the data.
        TargetError: no target works here.
        OutputError: nothing can be written to the folder.
    """
    from edgeq.deploy.why.reduce import write_reproducer
    from edgeq.deploy.why.run import why as ask

    source = data_for(files, data)
    with as_files(files, source) as paths, apart():
        findings = ask(
            chain(paths, targets),
            source,
            split=split,
            limit=limit,
            threads=threads,
            task=AskedTask(task or "", task_options or {}),
        )
        if reduce_to is not None:
            write_reproducer(findings, Path(reduce_to))
    return findings.why


def profile(
    files: Sequence[str | Path | nn.Module],
    *,
    targets: Sequence[str] = (),
    data: DataSource | str | None = None,
    threads: int = 1,
    seconds: float = 3.0,
    runs: int = 30,
    details: bool = True,
    operators: bool = False,
    batches: Sequence[int] = (),
    thread_counts: Sequence[int] = (),
) -> Profiled:
    """Time files on targets in turns, one sample an invocation, and hold them against each other.

    Args:
        files: checkpoints, ONNX files or TFLite files; and, where data are given, networks.
        targets: the names of the runtimes; all that are usable here where none is named.
        data: whose first test sample is the input; None for random numbers, the same in every run.
        threads: the most threads a runtime may use.
        seconds: how long each session is timed, at least.
        runs: how many runs of each are timed, at least.
        details: whether to measure start-up, memory, energy and the share of this machine's peak.
        operators: whether to time each operator, by the runtime's own profiler.
        batches: sizes of batches to tell the throughput of.
        thread_counts: numbers of threads to tell the throughput with.

    Returns:
        The latency of each, with which of its figures hold; how many times as fast each is as the
        first on its target, with an interval; and the details. What failed is in ``failures``.

    Raises:
        UsageError: no file, an unknown name, or a file that no target opens.
        ArtefactError: a file is missing, broken, or does not fit the sample.
        TargetError: no target works here.
    """
    from edgeq.deploy.evaluation.profiling.alone import ThroughputGrid
    from edgeq.deploy.evaluation.profiling.result import Details

    source = None if data is None else data_for(files, data)
    wanted = Details(
        start_up=details,
        operators=operators,
        peak=details,
        throughput=ThroughputGrid(tuple(batches), tuple(thread_counts)),
        energy=details,
    )
    with as_files(files, source) as paths, apart():
        return profiling.profile_each(
            chain(paths, targets),
            source=source,
            threads=threads,
            seconds=seconds,
            runs=runs,
            details=wanted,
        )


def audit(
    file: str | Path,
    target: str,
    *,
    data: DataSource | str | None = None,
    split: str = "test",
    limit: int = 64,
    threads: int = 1,
) -> Audit:
    """Ask a runtime which operators of a file it computes in integers, and why not the others.

    Args:
        file: an ONNX or TFLite file, of any tool.
        target: the runtime's name.
        data: on which to count the sums that saturate; None to tell only which can.
        split: which part of the data.
        limit: how many samples of it, spread evenly.
        threads: the most threads the runtime may use.

    Raises:
        ArtefactError: the file is missing, broken or of a format that the target does not open.
        UsageError: the target cannot tell.
        TargetError: the runtime is absent or refuses the file.
    """
    samples = None
    if data is not None:
        source = data_for([file], data)
        samples = Samples(source, select(source, split, limit))
    with apart():
        return auditing.audit(Path(file), target, threads=threads, samples=samples)


def emulate(
    file: str | Path,
    hardware: str,
    *,
    data: DataSource | str | None = None,
    split: str = "test",
    limit: int | None = None,
    task: str | None = None,
    task_options: Mapping[str, str] | None = None,
    threads: int = 1,
) -> Emulation:
    """Run a file in the arithmetic of a machine that you do not have, bit for bit.

    Args:
        file: a QDQ ONNX or TFLite file.
        hardware: the name of a hardware profile, or the path of one.
        data: samples to run; None to estimate costs only.
        split: which part of them.
        limit: how many, spread evenly; None for all.
        task: what the answers are judged by; the task of the data where it is None.
        task_options: its options.
        threads: the most threads to compute with.

    Raises:
        UsageError: no such machine, an unknown split, or no samples.
        ArtefactError: the file or the profile is broken, or does not fit the data or the machine.
    """
    source = None if data is None else data_for([file], data)
    with apart():
        return emulation.emulate(
            Path(file),
            hardware,
            source=source,
            split=split,
            limit=limit,
            threads=threads,
            task=AskedTask(task or "", task_options or {}),
        )


def survey(
    networks: Sequence[str | Path | nn.Module],
    data: DataSource | str,
    *,
    targets: Sequence[str] = (),
    reference: str = surveying.REFERENCE,
    split: str = "test",
    limit: int | None = None,
    task: str | None = None,
    task_options: Mapping[str, str] | None = None,
    threads: int = 1,
    seconds: float | None = 1.0,
) -> Survey:
    """Export networks for every target, run them there, and compare with a reference.

    Args:
        networks: training folders, checkpoints, QDQ ONNX files, or networks of ``edgeq.quantize``.
        data: a data set, or the name of one.
        targets: the names of the runtimes; all that are usable here where none is named.
        reference: the target that the others are compared with.
        split: which part of the data.
        limit: how many samples of it, spread evenly; None for all.
        threads: the most threads a runtime may use.
        seconds: how long each is timed, at least; None for not at all.
        task: as of :func:`compare`.
        task_options: of the task.

    Returns:
        A row for each network on each target; one that failed says why.

    Raises:
        UsageError: no network, no samples, an unknown split.
        ArtefactError: a network is missing or broken.
        TargetError: the reference, or every target that was named, is not usable here.
    """
    source = data_for(networks, data)
    with as_files(networks, source) as paths, apart():
        return surveying.survey(
            paths,
            source,
            targets=targets,
            reference=reference,
            split=split,
            limit=limit,
            threads=threads,
            seconds=seconds,
            task=AskedTask(task or "", task_options or {}),
        )


def gate(
    files: Sequence[str | Path | nn.Module] = (),
    data: DataSource | str | None = None,
    baseline: str | Path | None = None,
    *,
    config: str | Path = FILE,
    rules: Mapping[str, object] | None = None,
    against: str = "",
    targets: Sequence[str] = (),
    max_drop: float = 0.5,
    update: bool = False,
    stages: Sequence[str] = (),
    forget: Sequence[str] = (),
    accept_worse: bool = False,
    accept_guessing: bool = False,
    split: str = "test",
    limit: int | None = None,
    task: str | None = None,
    task_options: Mapping[str, str] | None = None,
    threads: int = 1,
) -> GateResult:
    """Judge files by rules, against a committed baseline, on the same samples.

    Without files, everything is as the file of rules says. With files, the arguments say it.

    Args:
        files: as of :func:`compare`; none to judge by ``config``.
        data: a data set, or the name of one; those of ``config`` where there are no files.
        baseline: the file to compare with.
        config: the file of rules, where there are no files.
        rules: as under ``[rules]`` of such a file; for ``files``. Accuracy alone where it is None.
        against: a git revision to read the baseline from: it is that of where this change left it.
        targets: the names of the runtimes; all that are usable here where none is named.
        max_drop: how many percentage points of accuracy or score a stage may lose; per cent of an
            error. It is the rule where ``rules`` is None.
        update: accept what is measured now: write the baseline, or replace it.
        stages: with ``update``, patterns of the stages to accept; all where there is none.
        forget: with ``update``, patterns of the stages to leave out from now on.
        accept_worse: let ``update`` accept what became worse or cannot be compared.
        accept_guessing: let ``update`` accept an accuracy that guessing reaches too.
        split: which part of the data.
        limit: how many samples of it, spread evenly; None for all.
        task: as of :func:`compare`.
        task_options: of the task.
        threads: the most threads a runtime may use.

    Returns:
        What the gate says; ``require_passed`` raises where it is not that it passed.

    Raises:
        UsageError: as of :func:`compare`; or a stage has neither an accuracy nor a score.
        ArtefactError: a file, the rules or the baseline are missing or broken.
        TargetError: no target works here; or one failed, with ``update``.
        Inconclusive: with ``update``, a stage is worse, was not run, or answers like guessing.
    """
    source = None if data is None else data_for(files, data)
    with as_files(files, source) as paths, apart():
        if not paths:
            asked = read_config(Path(config))
        elif source is None or baseline is None:
            raise UsageError(
                "files are named, and no data or no baseline", hint="give data and baseline"
            )
        else:
            said = {"accuracy": {"max_drop": max_drop}} if rules is None else rules
            asked = GateConfig(
                artefacts=tuple(paths),
                data=source.name,
                baseline=Path(baseline),
                rules=read_rules(said),
                folder=Path(baseline).parent,
                split=split,
                samples=limit,
                targets=tuple(targets),
                threads=threads,
                task=task or "",
                task_options=task_options or {},
            )
        if update:
            return gating.update(
                asked,
                named=tuple(stages),
                forget=tuple(forget),
                accept_worse=accept_worse,
                accept_guessing=accept_guessing,
                source=source,
            )
        return gating.gate(asked, against=against, source=source)
