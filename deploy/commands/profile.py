"""``edgeq profile``: latency of artefacts on targets."""

from typing import TYPE_CHECKING, Annotated

import typer

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

if TYPE_CHECKING:
    from edgeq.results import Profile


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

    Batch 1. All artefacts and targets take turns, so that the load on the machine is the same for
    all. The input is the first test sample of the data set, or the same random numbers in every
    run.

    A target in another process or on a board is timed there, without the way to it. A time that is
    not the device's is labelled simulated; one from a model of the device is labelled estimated.

    A target that fails loses its own figures only, and the command exits with status 4.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import with_model
    from edgeq.deploy.device_advice import before_profile
    from edgeq.deploy.evaluation.chain import chain
    from edgeq.deploy.evaluation.profile import profile_each
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.tables import show_failures, show_saturation
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
    with with_model(artefacts, user_model, source) as files:
        found = profile_each(
            chain(files, target),
            source=source,
            threads=threads,
            seconds=seconds,
            count=instructions,
        )
    console.write_json(
        "profile",
        {"machine": machine, "profiles": found.profiles, "failures": found.failures},
        printed=as_json,
    )
    if not as_json:
        columns = (
            "artefact",
            "target",
            "latency",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "spread %",
            "kB",
            "trust",
        )
        title = (
            f"Latency of one sample, at most {threads} thread{'s' if threads > 1 else ''}, on "
            f"{machine.cpu}"
        )
        console.write_table(
            title, columns, [_cells(row) for row in found.profiles], numbers=columns[3:8]
        )
        for row in found.profiles:
            if row.latency.why:
                console.write(f"{row.artefact} on {row.target}: {_told(row)}\n")
        for row in found.profiles:
            if row.kind != "measured":
                console.write_table(
                    f"{row.artefact} on {row.target}: what the {row.kind} latency is of",
                    ("", ""),
                    list(row.facts.items()),
                )
        show_failures(found.failures)
        show_saturation(row.saturating for row in found.profiles)
    if found.profiles:
        slowest = max(found.profiles, key=lambda row: row.latency.p50_ms)
        console.next_step("edgeq", "audit", artefacts[0], "--target", slowest.target)
    require_all(found.failures)


def _told(row: "Profile") -> str:
    """Which figures of a row hold, and what to do about the others."""
    trust = row.latency.trust
    if row.kind != "measured":
        return trust.why
    held = [
        *(["ratios to what was timed in turns with it"] if trust.ratios else []),
        *(["processor time"] if trust.processor_time else []),
    ]
    return (
        f"its percentiles are not to be trusted: {trust.why}. "
        f"What to do: {trust.advice}. What holds all the same: {' and '.join(held) or 'nothing'}."
    )


def _cells(row: "Profile") -> tuple[str, ...]:
    from edgeq.deploy.report.values import MISSING, kilobytes, milliseconds, percent

    latency = row.latency
    figures = [
        milliseconds(latency.p50_ms),
        milliseconds(latency.p90_ms),
        milliseconds(latency.p99_ms),
        percent(latency.spread),
    ]
    if latency.runs == 0:
        figures[1:] = [MISSING] * 3
    return (
        row.artefact,
        row.target,
        row.kind,
        *figures,
        kilobytes(row.size_bytes),
        latency.trust.word,
    )
