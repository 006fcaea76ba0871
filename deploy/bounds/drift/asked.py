"""The certificates that a person asks for, of a file on disk."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from edgeq.deploy.bounds.drift.certificate import CASES, Certificate, certify
from edgeq.deploy.bounds.drift.propagate import Propagation
from edgeq.deploy.evaluation.chain import require_targets
from edgeq.deploy.pipeline.export import canonical
from edgeq.errors import UsageError
from edgeq.formats.artefact import detect
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples


def certificates_of(
    path: Path,
    samples: Samples | None,
    targets: Sequence[str],
    *,
    threads: int,
    any_input: bool,
) -> list[Certificate]:
    """Each certificate of a file: for every input, and for samples.

    Raises:
        UsageError: it is a TFLite file, or an operator has no bound.
        TargetError: a runtime is absent or refuses the file.
        UnknownName: no target has a name.
    """
    if detect(path) == "tflite":
        raise UsageError(
            f"{path} is a TFLite file, and a certificate is made of ONNX",
            hint="give the ONNX file that it was written from: edgeq export keeps its integers",
        )
    propagation = Propagation(read_qdq(canonical(path)))
    found = [certify(propagation, None, "FP32, clipped alike")] if any_input else []
    if samples is None:
        return found
    with ExitStack() as stack:
        runtimes = {
            name: stack.enter_context(target.open(path, threads=threads))
            for name, target in require_targets(targets).items()
        }
        data = samples.part, samples.source
        for case in CASES:
            held = runtimes if case == "FP32" else None
            found.append(certify(propagation, data, case, held))
    return found
