"""``edgeq targets``: where artefacts can run, and how to make a target usable."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from edgeq.deploy.options import AsJson
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeq.deploy.evaluation.selftest import SelfTest
    from edgeq.deploy.listing import TargetRow
    from edgeq.device import Device


class NamesToo(typer.core.TyperGroup):
    """Lets ``edgeq targets NAME`` stand for ``edgeq targets show NAME``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments begin with."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


_DEVICE = (
    "name",
    "device",
    "fast weights",
    "weight bits",
    "activations",
    "activation bits",
    "file",
    "target",
)

app = typer.Typer(
    cls=NamesToo, help="List the targets, try one, or make the environment that one needs."
)


@app.callback(invoke_without_command=True)
def command(context: typer.Context, as_json: AsJson = False) -> None:
    """List the targets.

    Whether each is usable here and why not, what it opens, what a latency on it means, and how to
    fix what is not usable. `edgeq targets NAME` shows one and tries it.
    """
    context.obj = as_json
    if context.invoked_subcommand is not None:
        return
    from edgeq.deploy import console
    from edgeq.deploy.listing import list_targets
    from edgeq.deploy.package_conflicts import package_conflicts
    from edgeq.machine import fingerprint

    rows, machine = list_targets(), fingerprint()
    found = package_conflicts(machine.runtimes)
    missing = next(
        (row for row in rows if not row.usable and "edgeq targets setup" in row.hint), None
    )
    tried = ("setup", missing.name) if missing is not None else ("ort-cpu",)
    console.next_step("edgeq", "targets", *tried)
    if as_json:
        console.write_json(
            "targets", {"targets": rows, "package_conflicts": found, "machine": machine}
        )
        return
    columns = (
        "target",
        "usable",
        "opens",
        "integers",
        "latency",
        "runs on",
        "about",
    )
    console.write_table("Targets", columns, [_cells(row) for row in rows])
    console.write(
        f"{machine.cpu}, {counted(machine.cores, 'core')}: "
        f"{' '.join(machine.isa) or 'no instructions for integers known'}"
    )
    for problem in (*found, *_faults(rows)):
        console.write(f"clash: {problem}")


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show one target and try it.

    It runs a tiny network in each format that the target opens, and checks its integers; this takes
    some seconds. The exit status is 4 if they are wrong, or if the target is not usable here.
    `show` may be left out.
    """
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.selftest import self_test
    from edgeq.deploy.listing import list_targets
    from edgeq.errors import TargetError
    from edgeq.target import TARGETS

    (row,) = list_targets(name)
    tests = self_test(TARGETS.load(name)) if row.usable else ()
    if row.usable:
        console.next_step("edgeq", "compare", "FILE", "--data", "NAME", "--target", name)
    else:
        console.next_step(row.hint)
    if as_json or context.obj:
        console.write_json("targets", {"targets": [row], "self_tests": tests})
    else:
        console.write_table(
            row.name,
            ("", ""),
            [*_details(row), *((f"self-test, {test.format}", _told(test)) for test in tests)],
        )
    if not row.usable:
        raise TargetError(f"{name} is not usable here: {row.why_not}", hint=row.hint)
    failed = [test for test in tests if not test.passed]
    if failed:
        hint = (
            failed[0].hint or "try another version of its runtime, or another target of its format"
        )
        raise TargetError(f"{name} failed its self-test: {failed[0].what}", hint=hint)


@app.command("devices")
def devices(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="One of them, or a TOML file.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the devices that files can be made for, or show what is known of one.

    What each computes and what is fast there, each figure with its source. `edgeq calibrate
    --device NAME` chooses accordingly; `edgeq lint` and `edgeq profile` take the same names.
    """
    from edgeq.deploy import console
    from edgeq.targets.devices import devices, find

    found = devices() if name is None else (find(name),)
    chosen = found[0].name
    console.next_step(
        *("edgeq", "calibrate", "FILE", "--data", "NAME", "--device", chosen, "-o", "made.onnx")
    )
    if as_json or context.obj:
        console.write_json("targets", {"devices": found})
    elif name is None:
        console.write_table("Devices", _DEVICE, [_device(each) for each in found])
    else:
        console.write_table(
            found[0].title, ("", ""), list(zip(_DEVICE, _device(found[0]), strict=True))
        )
        for fact in found[0].facts:
            console.write(f"{fact.says}\n  {fact.source}")


@app.command()
def setup(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(help="A target that runs in an environment of its own.", show_default=False),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Make it again, if it is there already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the environment that a target needs.

    Exactly pinned packages go into a virtual environment, in the folder that EDGEQ_HOME names or in
    the user's cache folder. An interrupted setup leaves nothing behind.
    """
    from edgeq.deploy import console
    from edgeq.deploy.listing import set_up

    done = set_up(name, force=force, say=console.note)
    if as_json or context.obj:
        console.write_json("targets", {"target": name, "place": str(done)})
    else:
        console.write(f"{name} is ready")
    console.next_step("edgeq", "targets", name)


def _faults(rows: "Sequence[TargetRow]") -> "Iterator[str]":
    """Each known fault once, behind the targets that have it."""
    targets: dict[str, dict[str, None]] = {}
    for row in rows:
        for fault in row.faults:
            targets.setdefault(fault, {})[row.name.partition(":")[0]] = None
    return (f"{', '.join(names)}: {fault}" for fault, names in targets.items())


def _cells(row: "TargetRow") -> tuple[str, ...]:
    versions = ", ".join(f"{package} {version}" for package, version in row.versions.items())
    what = row.summary if row.usable else f"{row.why_not}; {row.hint}"
    usable = "no" if not row.usable else "if named" if row.on_request else "yes"
    return (
        row.name,
        usable,
        ", ".join(row.formats),
        ", ".join(row.storage_dtypes) or "–",
        row.latency,
        versions,
        what,
    )


def _device(each: "Device") -> tuple[str, ...]:
    from edgeq.device import widths

    return (
        each.name,
        each.title,
        each.granularity,
        widths(each.weight_bits),
        each.activation_dtype,
        widths(each.act_bits),
        each.format,
        each.target or "–",
    )


def _details(row: "TargetRow") -> list[tuple[str, str]]:
    return [
        ("what it is", row.summary),
        ("usable here", "yes" if row.usable else f"no: {row.why_not}"),
        *([] if row.usable else [("hint", row.hint)]),
        ("is run", "where it is named only" if row.on_request else "where no target is named, too"),
        ("opens", ", ".join(row.formats)),
        ("computes in", ", ".join(row.storage_dtypes) or "float"),
        ("one scale a channel", "yes" if row.per_channel else "no"),
        *([] if row.saturating_pairs == "never" else [("uint8 weights take", _cost(row))]),
        ("inner tensors", "readable" if row.intermediates else "hidden"),
        ("its latency is", row.latency),
        *((package, version) for package, version in row.versions.items()),
        *row.details,
        *(("clash", fault) for fault in row.faults),
    ]


def _cost(row: "TargetRow") -> str:
    from edgeq.deploy.evaluation.saturation.pair_saturation import cost_told

    return "not measured" if row.uint8_weight_cost is None else cost_told(row.uint8_weight_cost)


def _told(test: "SelfTest") -> str:
    speed = "" if test.p50_ms is None else f"; a run takes {1000 * test.p50_ms:,.1f} µs"
    return f"{'passed' if test.passed else 'FAILED'}: {test.what}{speed}"
