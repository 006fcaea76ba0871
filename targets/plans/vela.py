"""What Vela made of a TFLite file, read from its compiled file, summary and messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.formats.tflite_file import FileGraph

_REFUSAL = re.compile(
    r"^Warning \(supported operators\) operator: \w+, ofm: '(.*)'\nReason: (.*)$", re.MULTILINE
)
_MEMORIES = ("sram", "dram", "on_chip_flash", "off_chip_flash")
# an operator of the compiled file that stands for all that the NPU does at a stretch
_ON_NPU = "CUSTOM"
# what Vela calls the result of an operator in front of the activation fused into it
_FUSED = "_act"
_NAMED = 5  # operators in a fact; the audit names them all


@dataclass(frozen=True, slots=True)
class Compiled:
    """What Vela made of a file.

    Attributes:
        graph: the file as it was.
        left: the operators that stay on the CPU, by number, and why.
        summary: Vela's summary, by its column names, and the version of ``ethos-u-vela``.
    """

    graph: FileGraph
    left: Mapping[int, str]
    summary: Mapping[str, str]

    __repr__ = brief

    @property
    def estimated_ms(self) -> float:
        """What the NPU takes for one inference."""
        return 1000 * float(self.summary["inference_time"])

    @property
    def estimate_note(self) -> str:
        """What the estimate rests on, and what it leaves out."""
        without = f", without {counted(len(self.left), 'operator')} on the CPU" if self.left else ""
        return f"Vela's model of the NPU{without}"

    def facts(self) -> dict[str, str]:
        """For reports: the settings, where the operators run, cycles, memories."""
        told, count = self.summary, len(self.graph.operators)
        left = [
            f"{self.graph.operators[i].name} {self.graph.operators[i].title}" for i in self.left
        ]
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        memories = {
            f"{kind}_bytes": round(1024 * float(told[f"{kind}_memory_used"])) for kind in _MEMORIES
        }
        return {
            "accelerator": f"{told['accelerator_configuration']}, {told['system_config']}, "
            f"{told['memory_mode']}",
            "on_npu": counted(count - len(left), "operator", of=count),
            "on_cpu": (", ".join(left[:_NAMED]) + more) or "none",
            "cycles": told["cycles_total"],
            "clock_mhz": f"{float(told['core_clock']) / 1e6:g}",
            **(
                {}
                if left
                else {"inferences_per_second": f"{float(told['inferences_per_second']):.1f}"}
            ),
            **{kind: str(size) for kind, size in memories.items() if size},
            "ethos-u-vela": told["ethos-u-vela"],
        }


def compiled_of(
    graph: FileGraph, after: FileGraph, summary: Mapping[str, str], said: str
) -> Compiled:
    """Tell what stayed on the CPU.

    Args:
        graph: the file as it was.
        after: the compiled file; what stays on the CPU keeps the names of its results there.
        summary: Vela's summary.
        said: what Vela wrote while it compiled.
    """
    kept = {
        operator.output.name
        for operator in after.operators
        if operator.name != _ON_NPU and operator.outputs
    }
    reasons = dict(_REFUSAL.findall(said))
    left = {
        i: reasons.get(operator.title)
        or reasons.get(operator.title + _FUSED)
        or "Vela leaves it on the CPU"
        for i, operator in enumerate(graph.operators)
        if not operator.outputs or operator.output.name in kept
    }
    return Compiled(graph, left, summary)
