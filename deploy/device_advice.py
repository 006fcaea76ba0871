"""What a device asks of a calibration, and what is to be known of the file that it gave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.device import widths
from edgeq.errors import UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.device import Device


def suited(
    config: CalibrationConfig,
    device: Device,
    *,
    per_channel: bool | None = None,
    pair_safe: bool | None = None,
) -> CalibrationConfig:
    """A calibration as a device wants it.

    Args:
        config: how; its widths hold.
        device: what the file is for.
        per_channel: what the user asks for; None for what is fast on the device.
        pair_safe: what the user asks for; None for what the device needs.

    Raises:
        UsageError: activations of a width that the device computes in float.
    """
    asked = {"--act-bits": config.act_bits, "--boundary-bits": config.boundary_bits}
    for rule in config.layers:
        asked[f"--layer {rule.match}"] = rule.act_bits or 8
    for flag, bits in asked.items():
        if bits > max(device.act_bits):
            raise UsageError(
                f"{device.title} computes activations of {bits} bits in float",
                hint=f"choose {widths(device.act_bits)} with {flag}, or leave out --device",
            )
    return replace(
        config,
        per_channel=device.granularity == "per-channel" if per_channel is None else per_channel,
        pair_safe=device.pair_safe if pair_safe is None else pair_safe,
    )


def choices(config: CalibrationConfig, device: Device) -> Iterator[str]:
    """What was chosen for a device and why, a line each."""
    yield f"for {device.title}:"
    have = "per-channel" if config.per_channel else "per-tensor"
    slow = device.granularity == "per-tensor"
    figure = f"; per-channel ones were measured {device.slower:g} times slower" if slow else ""
    yield f"  {have} weights{figure}{_source(device, 'slower' if slow else 'granularity')}"
    if config.pair_safe != device.pair_safe:
        need = "saturate" if device.pair_safe else "cannot saturate"
        yield f"  against the advice: pairs of products {need} there{_source(device, 'pair_safe')}"
    elif device.pair_safe:
        where = _source(device, "pair_safe")
        yield f"  pair-safe weight scales, as pairs of products saturate there{where}"
    else:
        where = _source(device, "pair_safe")
        yield f"  weight scales as fine as can be, as no pair of products saturates there{where}"
    if config.weight_bits < min(device.weight_bits):
        yield (
            f"  weights of {config.weight_bits} bits are stored in {min(device.weight_bits)} there:"
            f" nothing gets smaller or faster{_source(device, 'weight_bits')}"
        )
    yield (
        f"  it gains from weights of {widths(device.weight_bits)} bits and computes activations of "
        f"{widths(device.act_bits)}{_source(device, 'act_bits')}"
    )


def afterwards(file: Path, device: Device) -> Iterator[str]:
    """What a device does with a calibrated file."""
    from edgeq.formats.onnx_io import read

    floats = [node for node in read(file).graph if node.op_type in device.float_operators]
    if floats:
        kinds = ", ".join(sorted({node.op_type for node in floats}))
        yield (
            f"{counted(len(floats), 'operator', 'stay')} in float there ({kinds})"
            f"{_source(device, 'float_operators')}"
        )


def export_command(file: Path, device: Device) -> tuple[str, ...]:
    """The command that writes a calibrated file for a device."""
    how = ("--to", "tflite") if device.format == "tflite" else ("--for", device.target or "ort-cpu")
    return ("edgeq", "export", str(file), *how, "-o", "exported")


def before_profile(device: Device, files: Sequence[Path]) -> Iterator[str]:
    """What a device does with files that are timed here, as far as it is known."""
    from edgeq.deploy.lint.run import lint
    from edgeq.formats.artefact import detect, resolve

    if not device.target:
        yield f"no target stands for {device.title}: times taken here are not its own"
    for file in files:
        if detect(resolve(file)) == "checkpoint":
            continue
        for each in lint(file, device=device).findings:
            if each.rule == "per-channel-slow":
                yield f"{file}: {each.message}\n  hint: {each.hint}"


def _source(device: Device, field: str) -> str:
    """Where a field is from, in brackets."""
    facts = device.facts_about(field)
    return f" ({facts[0].source})" if facts else ""
