"""``edgeq.search``: how many bits each layer needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.deploy import inputs
from edgeq.deploy.api.networks import as_files
from edgeq.deploy.device_advice import suited
from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.targets.devices import find
from edgeq.targets.isolation import apart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.data import DataSource
    from edgeq.deploy.search.result import SearchResult


@apart()
def search(
    model: str | Path | nn.Module,
    data: DataSource | str,
    path: str | Path | None = None,
    *,
    max_drop: float | None = None,
    budget: str | None = None,
    cost: str = "bytes",
    target: str = "",
    precisions: Sequence[str] = (),
    strategy: str = "optuna",
    trials: int = 60,
    seconds: float = float("inf"),
    seed: int = 0,
    samples: int = 500,
    eval_samples: int = 500,
    device: str = "",
    config: CalibrationConfig | None = None,
    task: str | None = None,
    task_options: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> SearchResult:
    """Find how many bits each layer of a float network needs.

    Without ``max_drop`` and ``budget``, each layer is only quantised alone, which shows what it
    costs the answers.

    Args:
        model: a float ONNX file, the checkpoint or folder of an FP32 training, or a float network.
        data: a data set, or the name of one.
        path: the QDQ ONNX file to write; ends in ``.onnx``. None for none.
        max_drop: find the least cost that loses at most so much: points of accuracy, or of the
            task's figure.
        budget: find the best answers within a cost: ``bytes=200k``, ``macs=60%``, ``latency=2.5``
            or ``cycles=1.5M``.
        cost: what is least within ``max_drop``: ``bytes``, ``macs``, ``latency`` or ``cycles``.
        target: where latency is measured, or cycles are estimated.
        precisions: what a layer can have: ``w4a8``, ``w8a8``, ``w8a16`` or ``float``; by default
            what gains something on the device, or the first, the second and the last of these.
        strategy: what is tried next: ``optuna``, ``path``, ``network``, ``layer``, ``neuron`` or
            ``keep-float``.
        trials: how many are tried, at most.
        seconds: how long the search takes, at most.
        seed: of what Optuna asks.
        samples: for calibration, at most.
        eval_samples: that trials are judged on, at most.
        device: what the file is for: a name of :mod:`edgeq.targets.devices`, or the path of such a
            file; empty for none.
        config: how ranges are found and weights quantised.
        task: what the answers are judged by; None for the task of the data.
        task_options: options of the task.
        outputs: the tensors at which the network is cut; its own outputs by default.
        resume: go on with the trials that are kept beside ``path``.
        overwrite: replace a file that exists.

    Returns:
        What was found; ``best`` is None where nothing is within the limit. ``scheme`` is TOML.

    Raises:
        ArtefactError: the network is broken, quantised already, or does not fit the data.
        MissingDependency: Optuna is asked for, and not installed.
        UsageError: an unknown name, or a search that cannot be.
        OutputError: the file exists, cannot be written, or is no ``.onnx`` file.
    """
    from edgeq.calibration.config import CalibrationConfig
    from edgeq.calibration.search.precision import parse
    from edgeq.deploy.search import run
    from edgeq.deploy.search.costs import parse_budget, parse_cost

    known = find(device) if device else None
    chosen = config or CalibrationConfig()
    if known is not None:
        chosen = suited(chosen, known)
    limit = None if budget is None else parse_budget(budget)
    asked = run.SearchOptions(
        max_drop=max_drop,
        budget=limit,
        cost=parse_cost(cost),
        target=target,
        precisions=tuple(map(parse, precisions)) or run.usual(known),
        strategy=strategy,
        trials=trials,
        seconds=seconds,
        seed=seed,
        samples=samples,
        eval_samples=eval_samples,
        outputs=tuple(outputs),
        resume=resume,
    )
    if known is not None:
        asked = run.on_device(asked, known)
    source = inputs.data_for([model], data)
    with as_files([model], source) as (file,):
        return run.search(
            file,
            source,
            None if path is None else Path(path),
            chosen,
            asked,
            task=AskedTask(task or "", task_options or {}),
            overwrite=overwrite,
        )
