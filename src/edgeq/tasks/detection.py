"""Mean average precision of detectors, as COCO defines it, by pycocotools."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeq.errors import MissingDependency, UsageError
from edgeq.results import Score
from edgeq.tasks import choose, number, numbers
from edgeq.tasks.decoders import DECODERS, Settings, recognised
from edgeq.tasks.slices import Columns, known
from edgeq.tasks.thresholds import best_f1

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.data import Boxes
    from edgeq.tasks import LabelKind, TaskData
    from edgeq.tasks.decoders import Decoder, Detections

OPTIONS = {
    "decoder": "what the outputs mean, where their shapes do not tell",
    "score": "leave out detections below it (0.01)",
    "iou": "of two boxes of a class that overlap more, keep the surer one (0.7)",
    "anchors": "widths and heights in pixels, level by level, for decoders with anchor boxes",
    "variances": "of SSD's coordinates (0.1,0.2)",
    "sizes": "sides in pixels at which objects become medium and large (32,96, or thirds of the "
    "objects where these leave one size only)",
}
COCO_SIDES = (32.0, 96.0)
_EVERYTHING = [0.0, 1e10]


class Detection:
    """The task: boxes and classes of objects."""

    summary = "mean average precision of boxes at IoU 0.50 to 0.95, as COCO defines it"
    labels: LabelKind = "boxes"
    options: ClassVar[Mapping[str, str]] = OPTIONS

    def meter(self, data: TaskData, options: Mapping[str, str]) -> DetectionMeter:
        """A meter for one stage."""
        require_coco("mAP")
        return DetectionMeter(settings_of(data, choose(options, self.options, "mAP")), options)


def require_coco(task: str) -> None:
    """Return where pycocotools is installed, which a run needs at its end only.

    Raises:
        MissingDependency: it is not.
    """
    if find_spec("pycocotools") is None:
        raise MissingDependency("task", task, "pycocotools", ("tasks",))


def settings_of(data: TaskData, options: Mapping[str, str], points: int = 0) -> Settings:
    """What decoders need, from what a user types."""
    variances = numbers(options, "variances") or [0.1, 0.2]
    if len(variances) != 2:
        raise UsageError(
            f"SSD has two variances, not {len(variances)}", hint="give variances=0.1,0.2"
        )
    return Settings(
        data,
        score=number(options, "score", 0.01),
        iou=number(options, "iou", 0.7),
        anchors=tuple(numbers(options, "anchors")),
        variances=(variances[0], variances[1]),
        points=points,
    )


class DetectionMeter:
    """Keeps boxes of what is there and what was found."""

    higher_is_better = True

    def __init__(self, settings: Settings, options: Mapping[str, str]) -> None:
        self._settings, self._options = settings, options
        self._decoder: Decoder | None = None
        self._remarks: tuple[str, ...] = ()
        self._truth: list[Boxes] = []
        self._found: list[Detections] = []
        self._columns = Columns()

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[Boxes],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch."""
        if self._decoder is None:
            self._decoder = self._choose(outputs)
        self._found.extend(self._decoder.decode(list(outputs.values()), self._settings))
        self._truth.extend(labels)
        self._columns.update(columns)

    def _choose(self, outputs: Mapping[str, NDArray[np.float32]]) -> Decoder:
        if "decoder" in self._options:
            return DECODERS.load(self._options["decoder"])
        shapes = {name: values.shape[1:] for name, values in outputs.items()}
        name = recognised(shapes, self._settings)
        self._remarks = (f"the outputs were taken for {name}'s, by their shapes",)
        return DECODERS.load(name)

    def result(self) -> Score:
        """The score of all samples so far."""
        classes = self._settings.data.classes
        evaluated = evaluate(self._truth, self._found, range(len(self._truth)), classes, "bbox")
        sides = self._sides()
        precision = mean_precision(evaluated.precision)
        return Score(
            "mAP50-95",
            precision,
            len(self._truth),
            further={
                "mAP50": mean_precision(evaluated.precision[0]),
                "mAP75": mean_precision(evaluated.precision[5]),
                "recall": mean_precision(evaluated.recall),
            },
            per_class=known(
                {
                    classes[k]: mean_precision(evaluated.precision[:, :, k])
                    for k in evaluated.classes
                }
            ),
            per_slice={"size": self._by_size(sides), **self._columns.figures(self._precision)},
            threshold=best_f1(*evaluated.matches)[0],
            remarks=self._remarks,
        )

    def _sides(self) -> tuple[float, float]:
        given = numbers(self._options, "sizes")
        if len(given) not in (0, 2):
            raise UsageError("two sides part small, medium and large", hint="give sizes=32,96")
        if given:
            return given[0], given[1]
        sides = np.sqrt(
            np.concatenate([boxes.area for boxes in self._truth] or [np.zeros(0, np.float32)])
        )
        if len(set(np.searchsorted(COCO_SIDES, sides).tolist())) > 1 or not len(sides):
            return COCO_SIDES
        low, high = np.quantile(sides, (1 / 3, 2 / 3))
        return float(low), float(high)

    def _by_size(self, sides: tuple[float, float]) -> dict[str, float]:
        low, high = (side * side for side in sides)
        names = (
            f"small (below {sides[0]:.0f} px a side)",
            "medium",
            f"large (from {sides[1]:.0f} px a side)",
        )
        ranges = ([0.0, low], [low, high], [high, 1e10])
        every, classes = range(len(self._truth)), self._settings.data.classes
        return known(
            {
                name: mean_precision(
                    evaluate(self._truth, self._found, every, classes, "bbox", area).precision
                )
                for name, area in zip(names, ranges, strict=True)
            }
        )

    def _precision(self, which: NDArray[np.int64]) -> float:
        """Of some samples."""
        classes = self._settings.data.classes
        return mean_precision(
            evaluate(self._truth, self._found, which.tolist(), classes, "bbox").precision
        )


class Evaluated:
    """What pycocotools finds for some samples.

    Attributes:
        precision: (thresholds of IoU, recalls, classes), -1 where a class is absent.
        recall: (thresholds of IoU, classes), likewise.
        classes: the indices of those that are present.
        matches: of all detections at IoU 0.5 their scores, whether each is right, and how many
            objects there are.
    """

    def __init__(self, run: Any, least: int) -> None:
        self.precision = run.eval["precision"][:, :, :, 0, -1]
        self.recall = run.eval["recall"][:, :, 0, -1]
        self.classes = [k for k in range(self.recall.shape[1]) if self.recall[0, k] > -1]
        scores, right, objects = [np.zeros(0)], [np.zeros(0, bool)], least
        for image in run.evalImgs:
            if image is not None:
                counted = ~image["dtIgnore"][0].astype(bool)
                scores.append(np.array(image["dtScores"])[counted])
                right.append(image["dtMatches"][0][counted] > 0)
                objects += int((~np.array(image["gtIgnore"], bool)).sum())
        self.matches = np.concatenate(scores), np.concatenate(right), objects


def evaluate(
    truth: Sequence[Boxes],
    found: Sequence[Detections],
    which: Iterable[int],
    classes: Sequence[str],
    kind: str,
    area: Sequence[float] = _EVERYTHING,
    sigmas: Sequence[float] = (),
) -> Evaluated:
    """COCO's evaluation.

    Args:
        truth: what is there, a record for each sample.
        found: what was found.
        which: the samples that count.
        classes: the names of all.
        kind: ``bbox`` or ``keypoints``.
        area: the smallest and largest object that counts, in square pixels.
        sigmas: of each keypoint.
    """
    coco: Any = import_module("pycocotools.coco")
    evaluation: Any = import_module("pycocotools.cocoeval")
    places = list(which)
    with redirect_stdout(StringIO()):
        told, answers = coco.COCO(), coco.COCO()
        told.dataset = {**_frame(places, classes), "annotations": list(_objects(truth, places))}
        answers.dataset = {**_frame(places, classes), "annotations": list(_answers(found, places))}
        told.createIndex()
        answers.createIndex()
        run = evaluation.COCOeval(told, answers, kind)
        run.params.areaRng, run.params.areaRngLbl = [list(area)], ["all"]
        run.params.maxDets = [20 if kind == "keypoints" else 100]
        if len(sigmas):
            run.params.kpt_oks_sigmas = np.array(sigmas)
        run.evaluate()
        run.accumulate()
    return Evaluated(run, 0)


def _frame(places: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    return {
        "images": [{"id": place} for place in places],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
    }


def _objects(truth: Sequence[Boxes], places: Sequence[int]) -> Iterable[dict[str, Any]]:
    count = 0
    for place in places:
        boxes = truth[place]
        crowd = np.zeros(len(boxes), bool) if boxes.crowd is None else boxes.crowd
        for i in range(len(boxes)):
            count += 1
            points = {}
            if boxes.keypoints is not None:
                own = boxes.keypoints[i]
                points = {
                    "keypoints": own.ravel().tolist(),
                    "num_keypoints": int((own[:, 2] > 0).sum()),
                }
            yield {
                "id": count,
                "image_id": place,
                "category_id": int(boxes.classes[i]),
                "bbox": _box(boxes.corners[i]),
                "area": float(boxes.area[i]),
                "iscrowd": int(crowd[i]),
                **points,
            }


def _answers(found: Sequence[Detections], places: Sequence[int]) -> Iterable[dict[str, Any]]:
    count = 0
    for place in places:
        one = found[place]
        for i in range(len(one.scores)):
            count += 1
            box = _box(one.corners[i])
            points = (
                {} if one.keypoints is None else {"keypoints": one.keypoints[i].ravel().tolist()}
            )
            yield {
                "id": count,
                "image_id": place,
                "category_id": int(one.classes[i]),
                "bbox": box,
                "area": box[2] * box[3],
                "score": float(one.scores[i]),
                **points,
            }


def _box(corners: NDArray[np.float32]) -> list[float]:
    left, top, right, bottom = (float(value) for value in corners)
    return [left, top, right - left, bottom - top]


def mean_precision(values: NDArray[np.float64]) -> float:
    """Over what is known; NaN where nothing is."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


task = Detection()
