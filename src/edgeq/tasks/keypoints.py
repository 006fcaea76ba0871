"""Keypoints: COCO's mean average precision by object keypoint similarity (OKS), by pycocotools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from edgeq.errors import ArtefactError, UsageError
from edgeq.results import Score
from edgeq.tasks import choose, number, numbers
from edgeq.tasks.detection import (
    OPTIONS,
    DetectionMeter,
    evaluate,
    mean_precision,
    require_coco,
    settings_of,
)
from edgeq.tasks.slices import known
from edgeq.tasks.thresholds import best_f1

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.data import Boxes
    from edgeq.tasks import LabelKind, TaskData
    from edgeq.tasks.decoders import Settings

COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
"""How far people's marks of COCO's 17 points scatter, in shares of the object's size."""
_ALIKE = 0.05  # for points of another kind, where none are given


class Keypoints:
    """The task: points of each object."""

    summary = "mean average precision of keypoints by object keypoint similarity (OKS)"
    labels: LabelKind = "keypoints"
    options: ClassVar[Mapping[str, str]] = {
        **{name: what for name, what in OPTIONS.items() if name in ("decoder", "score", "iou")},
        "points": "keypoints of an object (17, COCO's)",
        "sigmas": "how far marks of each point scatter, in shares of the object's size (COCO's, or "
        "0.05 for each)",
    }

    def meter(self, data: TaskData, options: Mapping[str, str]) -> KeypointMeter:
        """A meter for one stage."""
        require_coco("keypoints")
        given = choose(options, self.options, "keypoints")
        points = int(number(given, "points", len(COCO_SIGMAS)))
        sigmas = numbers(given, "sigmas")
        if not sigmas:
            sigmas = list(COCO_SIGMAS) if points == len(COCO_SIGMAS) else [_ALIKE] * points
        if len(sigmas) != points:
            raise UsageError(
                f"{points} keypoints need {points} sigmas, and {len(sigmas)} are given",
                hint="give one for each point, with commas between",
            )
        return KeypointMeter(settings_of(data, given, points), given, sigmas)


class KeypointMeter(DetectionMeter):
    """Keeps the points of what is there and what was found."""

    def __init__(
        self, settings: Settings, options: Mapping[str, str], sigmas: Sequence[float]
    ) -> None:
        super().__init__(settings, options)
        self._sigmas = sigmas

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[Boxes],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch."""
        for boxes in labels:
            if boxes.keypoints is None or boxes.keypoints.shape[1] != len(self._sigmas):
                have = 0 if boxes.keypoints is None else boxes.keypoints.shape[1]
                if have or len(boxes):
                    raise ArtefactError(
                        f"an object has {have} keypoints, and the task is about "
                        f"{len(self._sigmas)}",
                        hint="give --task-option points=N",
                    )
        super().update(outputs, labels, columns)

    def result(self) -> Score:
        """The score of all samples so far."""
        classes = self._settings.data.classes

        def run(which: Sequence[int]) -> Any:
            return evaluate(
                self._truth, self._found, which, classes, "keypoints", sigmas=self._sigmas
            )

        whole = run(range(len(self._truth)))
        return Score(
            "OKS mAP50-95",
            mean_precision(whole.precision),
            len(self._truth),
            further={
                "OKS mAP50": mean_precision(whole.precision[0]),
                "OKS mAP75": mean_precision(whole.precision[5]),
            },
            per_class=known(
                {classes[k]: mean_precision(whole.precision[:, :, k]) for k in whole.classes}
            ),
            per_slice=self._columns.figures(
                lambda which: mean_precision(run(which.tolist()).precision)
            ),
            threshold=best_f1(*whole.matches)[0],
            remarks=self._remarks,
        )


task = Keypoints()
