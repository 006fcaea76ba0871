"""Writes docs/reference/devices.md from the devices' own files, so that it cannot be untrue.

Run it with ``make docs``; a test compares the page with what this module renders.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.device import Device

PAGE = Path(__file__).parent / "reference" / "devices.md"
HEAD = """# Devices

Written by `make docs` from `targets/devices/*.toml`; edit those, not this page.

What `--device` knows: what each device computes, and what is fast there.
[The guide](../guide/choose-for-a-device.md) shows how to use it and how to describe your own.

*Weight bits* are the widths that make a file smaller or faster there; narrower ones are stored in
the next of them. *Activation bits* are computed in integers, wider ones in float.

| name | device | fast weights | weight bits | activations | activation bits | file |
|---|---|---|---|---|---|---|
"""


def render() -> str:
    """The whole page."""
    from edgeq.targets.devices import devices

    known = devices()
    return "".join([HEAD, *map(_row, known), *map(_facts, known)])


def _row(device: Device) -> str:
    from edgeq.device import widths

    return (
        f"| [{device.name}](#{device.name}) | {device.title} | {device.granularity} | "
        f"{widths(device.weight_bits)} | {device.activation_dtype} | {widths(device.act_bits)} | "
        f"{device.format} |\n"
    )


def _facts(device: Device) -> str:
    rows = [
        f"| {fact.says} | {', '.join(fact.about)} | {_link(fact.source)} |\n"
        for fact in device.facts
    ]
    head = f"\n## {device.name}\n\n{device.title}.\n\n| what is known | about | source |\n"
    return "".join([head, "|---|---|---|\n", *rows])


def _link(source: str) -> str:
    if source.startswith("docs/"):
        return f"[measured](../{source.removeprefix('docs/')})"
    return f"[source]({source})"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
