"""How well a network does the task of its data, in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgeq.data import batches
from edgeq.tasks import TASKS, TaskData
from edgeq.training.run.signals import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from edgeq.data import DataSource, Split
    from edgeq.results import Score
    from edgeq.tasks import Meter


def meter_of(source: DataSource) -> Meter:
    """A meter for the task of a data set.

    Raises:
        MissingDependency: the task needs a package that is not installed.
    """
    return TASKS.load(source.task).meter(TaskData.of(source), {})


def score(
    model: nn.Module,
    split: Split,
    source: DataSource,
    batch_size: int = 64,
    *,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Score:
    """The score of a network on a split, on the device that it is on.

    Raises:
        Stopped: that was asked for between two batches.
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    meter, done = meter_of(source), 0
    with torch.inference_mode():
        for images, labels in batches(split, source, batch_size):
            if stop_requested():
                raise Stopped
            answer = model(torch.from_numpy(images).to(device))
            outputs = {f"output_{n}": one for n, one in enumerate(_leaves(answer), start=1)}
            columns = {
                name: values[done : done + len(images)] for name, values in split.columns.items()
            }
            meter.update(outputs, labels, columns)
            done += len(images)
    return meter.result()


def _leaves(answer: Any) -> Iterator[Any]:
    if isinstance(answer, Tensor):
        yield answer.float().cpu().numpy()
        return
    for part in answer.values() if isinstance(answer, dict) else answer:
        yield from _leaves(part)
