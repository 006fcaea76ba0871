"""The certificates that a person asks for, of a file on disk."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from edgeq.deploy.bounds.drift.certificate import CASES, Certificate, certify
from edgeq.deploy.bounds.drift.onnx_graph import of_qdq
from edgeq.deploy.bounds.drift.propagate import Propagation
from edgeq.deploy.bounds.drift.tflite_graph import of_tflite
from edgeq.deploy.evaluation.chain import require_targets
from edgeq.deploy.pipeline.export import canonical
from edgeq.errors import EdgeqError
from edgeq.files import read_bytes
from edgeq.formats.artefact import detect
from edgeq.formats.tflite_validation import check_model
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.deploy.bounds.drift.graph import DriftGraph
    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples


def drift_graph(path: Path) -> DriftGraph:
    """The operators of a file as errors go through them.

    Raises:
        ArtefactError: the file is damaged.
        UsageError: an operator has no bound; names it.
    """
    if detect(path) != "tflite":
        return of_qdq(read_qdq(canonical(path)))
    content = read_bytes(path, "TFLite model")
    check_model(content, path)
    return of_tflite(content)


def has_bound(path: Path) -> bool:
    """Whether a bound on the drift of a file's answers can be asked for, with data of one input."""
    try:
        return len(drift_graph(path).inputs) == 1
    except EdgeqError:
        return False


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
        UsageError: an operator has no bound.
        TargetError: a runtime is absent or refuses the file.
        UnknownName: no target has a name.
    """
    propagation = Propagation(drift_graph(path))
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
