"""``edgeq profile``: latency of artefacts on targets."""

from pathlib import Path
from typing import Annotated

import typer

from edgeq.deploy import names
from edgeq.deploy.options import (
    Artefacts,
    AsJson,
    DataDir,
    OptionalData,
    Targets,
    Threads,
    UserModel,
)
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.tabular import counted


@with_preprocessing
def command(
    artefacts: Artefacts,
    target: Targets = None,
    threads: Threads = 1,
    user_model: UserModel = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            metavar="S",
            help="Time each artefact on each target for at least this long.",
        ),
    ] = 3.0,
    runs: Annotated[
        int,
        typer.Option(
            "--runs", metavar="N", min=1, help="Time at least this many runs of each, too."
        ),
    ] = 30,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators",
            help="Time each operator, by the runtime's own profiler, where it has one.",
        ),
    ] = False,
    batches: Annotated[
        list[str] | None,
        typer.Option(
            "--batches",
            metavar="N,...",
            callback=names.counts,
            help="Tell the throughput with batches of these sizes, too.",
        ),
    ] = None,
    thread_counts: Annotated[
        list[str] | None,
        typer.Option(
            "--thread-counts",
            metavar="N,...",
            callback=names.counts,
            help="Tell the throughput with these numbers of threads, too.",
        ),
    ] = None,
    require_speedup: Annotated[
        float | None,
        typer.Option(
            "--require-speedup",
            metavar="TIMES",
            help="Exit with status 1 where a file is not this many times as fast as the first on "
            "its target, and name the operators to blame; with 3 where that stays open.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write the operators of a run as a Chrome trace, for Perfetto.",
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a line of CSV for each.")
    ] = None,
    benchmark: Annotated[
        Path | None,
        typer.Option(
            "--benchmark-json",
            metavar="FILE",
            help="Write what was measured for github-action-benchmark (customSmallerIsBetter).",
        ),
    ] = None,
    instructions: Annotated[
        bool,
        typer.Option(
            "--instructions",
            help="Count a run's instructions, on targets that emulate a processor; takes minutes.",
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Time on the target that stands for this device, and say what is known to be "
            "slow there: a name of `edgeq targets devices`, or a TOML file like those.",
        ),
    ] = "",
    data: OptionalData = None,
    data_dir: DataDir = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    as_json: AsJson = False,
) -> None:
    """Measure latency on targets.

    All artefacts and targets take turns in short blocks, in random order, so that what else the
    machine does meets all of them alike. Each runs until it is warm and is then timed one sample at
    a time. The input is the first test sample of the data set, or the same random numbers in every
    run.

    The table says of each latency whether it holds; where it does not, why, and what to do. Ratios
    of what was timed in turns, with their intervals, hold on a shared machine too, and so does
    processor time.

    A target in another process or on a board is timed there, without the way to it. A time that is
    not the device's is labelled simulated; one from a model of the device is labelled estimated.
    Neither stands in one table or ratio with what was measured.

    A target that fails loses its own figures only, and the command exits with status 4.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import with_model
    from edgeq.deploy.device_advice import before_profile
    from edgeq.deploy.evaluation.chain import chain
    from edgeq.deploy.evaluation.compare import shorten
    from edgeq.deploy.evaluation.profile import check, profile_each
    from edgeq.deploy.evaluation.profiling.alone import ThroughputGrid
    from edgeq.deploy.evaluation.profiling.files import as_benchmark, as_csv, as_trace
    from edgeq.deploy.evaluation.profiling.result import Details
    from edgeq.deploy.evaluation.profiling.speed_ups import require_pairs, require_speed_up
    from edgeq.deploy.evaluation.profiling.tables import show
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.tables import show_failures, show_saturation
    from edgeq.files import check_output, write_text
    from edgeq.machine import fingerprint
    from edgeq.results import require_all
    from edgeq.targets.devices import find

    known = find(device) if device else None
    if known is not None:
        target = target or ([known.target] if known.target else None)
        for line in before_profile(known, artefacts):
            console.note(line)
    source = load_data(data, data_dir, preprocess, artefacts) if data is not None else None
    machine = fingerprint()
    wanted = Details(
        start_up=True,
        operators=operators or trace is not None or require_speedup is not None,
        peak=True,
        throughput=ThroughputGrid(
            tuple(map(int, batches or ())), tuple(map(int, thread_counts or ()))
        ),
        energy=True,
        instructions=instructions,
    )
    for path in (trace, csv, benchmark):
        if path is not None:
            check_output(path, overwrite=True)
    with with_model(artefacts, user_model, source) as files:
        pairs = chain(files, target)
        check(pairs, threads, seconds, runs)
        if require_speedup is not None:
            require_pairs(pairs)
        # a bar would take time from what is timed
        least = seconds * len(pairs)
        console.note(f"timing {counted(len(pairs), 'pair')} in turns, for {least:g} s at least")
        found = profile_each(
            pairs, source=source, threads=threads, seconds=seconds, runs=runs, details=wanted
        )
    console.write_json(
        "profile",
        {
            "machine": machine,
            "profiles": found.profiles,
            "failures": found.failures,
            "speed_ups": found.speed_ups,
            "throughput": found.throughput,
            "peak": found.peak,
            "no_energy": found.no_energy,
        },
        printed=as_json,
    )
    if not as_json:
        show(found, machine, threads)
        show_failures(found.failures)
        show_saturation(row.saturating for row in found.profiles)
    if found.profiles:
        slowest = max(found.profiles, key=lambda row: row.latency.p50_ms)
        called = shorten(artefacts)
        file = next((each for each in artefacts if called[each] == slowest.artefact), artefacts[0])
        console.next_step("edgeq", "audit", file, "--target", slowest.target)
    if csv is not None:
        write_text(csv, as_csv(found.profiles, found.speed_ups), overwrite=True)
    if benchmark is not None:
        write_text(benchmark, as_benchmark(found.profiles, machine), overwrite=True)
    if trace is not None:
        write_text(trace, as_trace(found.profiles), overwrite=True)
    if require_speedup is not None:
        require_speed_up(found.speed_ups, require_speedup, threads)
    require_all(found.failures)
