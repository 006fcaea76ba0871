"""The loss of a detector without anchor boxes: which anchor answers for which object, and how well.

Objects are assigned to anchors by how well these already answer (task-aligned assignment: Feng et
al., *TOOD*, 2021, Sec. 3.2, with the constants of YOLOv8). Scores have a binary cross-entropy,
boxes a generalised IoU (Rezatofighi et al., 2019) and the distribution focal loss of their sides
(Li et al., *Generalized focal loss*, 2020, Eq. 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.data import Boxes

TOP, ALPHA, BETA = 10, 0.5, 6.0
"""Anchors for each object at most, and the exponents of score and IoU in the alignment."""
BOX, SCORE, BINS = 7.5, 0.5, 1.5
"""Weights of the three terms."""
_TINY = 1e-9


class Detection:
    """The loss of boxes and scores at several levels; see :class:`edgeq.models.tasks.yolo.Yolo`."""

    counted = False

    def targets(self, labels: Sequence[Boxes]) -> Tensor:
        """float32, (n, most, 5); see :func:`padded`."""
        return padded(labels)

    def loss(self, answer: Any, targets: Tensor, images: Tensor) -> Tensor:
        """Of a batch."""
        sound = isinstance(answer, tuple | list) and len(answer) % 2 == 0
        if not sound or any(tensor.ndim != 4 for tensor in answer):
            raise UsageError(
                "the network does not answer with boxes and scores at each level",
                hint="choose a detector, such as yolo-tiny, or return (boxes, scores, boxes, "
                "scores, ...) with 4 * bins and as many channels as classes",
            )
        return detection_loss(answer, targets, images.shape[2])

    def right(self, answer: Any, targets: Tensor) -> float:
        """Not counted."""
        del answer, targets
        return 0.0


def padded(labels: Sequence[Boxes]) -> Tensor:
    """Objects of many samples as one tensor.

    Returns:
        float32, (n, most, 5): class, left, top, right and bottom in pixels; the class is -1 where
        there is no further object. Crowds are left out.
    """
    known = [one if one.crowd is None else one.take(~one.crowd) for one in labels[:]]
    table = torch.full((len(known), max((len(one) for one in known), default=0) or 1, 5), -1.0)
    for row, one in zip(table, known, strict=True):
        both = np.concatenate((one.classes[:, np.newaxis].astype(np.float32), one.corners), axis=1)
        row[: len(one)] = torch.from_numpy(both)
    return table


def detection_loss(outputs: Sequence[Tensor], targets: Tensor, height: int) -> Tensor:
    """The loss of a batch, a mean over its samples' assigned anchors.

    Args:
        outputs: of each level boxes (n, 4 * bins, h, w) and scores (n, classes, h, w), logits.
        targets: (n, most, 5), from :func:`padded`.
        height: of the image, in pixels.
    """
    answer = _Answer.of(outputs, height)
    given, labels, corners = (
        targets[..., 0] >= 0,
        targets[..., 0].clamp(min=0).long(),
        targets[..., 1:],
    )
    with torch.no_grad():
        aim = _assigned(answer, given, labels, corners)
    total = aim.scores.sum().clamp(min=1.0)
    loss = SCORE * F.binary_cross_entropy_with_logits(answer.scores, aim.scores, reduction="sum")
    where = aim.assigned
    if bool(where.any()):
        weight = aim.scores[where].amax(-1)
        loss = loss + BOX * ((1 - _giou(answer.corners[where], aim.corners[where])) * weight).sum()
        loss = loss + BINS * (_bins_loss(answer, aim, where) * weight).sum()
    return loss / total


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """All levels side by side; ``a`` anchors in all.

    Attributes:
        bins: (n, a, 4, bins), logits of the distance to each side.
        scores: (n, a, classes), logits.
        corners: (n, a, 4), the boxes in pixels.
        centres: (a, 2), x and y of each anchor in pixels.
        strides: (a,), in pixels.
    """

    bins: Tensor
    scores: Tensor
    corners: Tensor
    centres: Tensor
    strides: Tensor

    @classmethod
    def of(cls, outputs: Sequence[Tensor], height: int) -> _Answer:
        bins, scores, centres, strides = [], [], [], []
        for boxes, classes in zip(outputs[::2], outputs[1::2], strict=True):
            rows, columns = boxes.shape[2:]
            stride = height / rows
            y, x = torch.meshgrid(
                torch.arange(rows, device=boxes.device) + 0.5,
                torch.arange(columns, device=boxes.device) + 0.5,
                indexing="ij",
            )
            centres.append(torch.stack((x, y), -1).reshape(-1, 2) * stride)
            strides.append(torch.full((rows * columns,), stride, device=boxes.device))
            bins.append(boxes.float().flatten(2).transpose(1, 2).unflatten(2, (4, -1)))
            scores.append(classes.float().flatten(2).transpose(1, 2))
        every, at, sizes = torch.cat(bins, 1), torch.cat(centres), torch.cat(strides)
        numbers = torch.arange(every.shape[-1], device=every.device, dtype=every.dtype)
        distance = (every.softmax(-1) @ numbers) * sizes[:, None]
        corners = torch.cat((at - distance[..., :2], at + distance[..., 2:]), -1)
        return cls(every, torch.cat(scores, 1), corners, at, sizes)


@dataclass(frozen=True, slots=True, eq=False)
class _Aim:
    """What each anchor is to answer.

    Attributes:
        assigned: bool, (n, a).
        scores: (n, a, classes), in [0, 1].
        corners: (n, a, 4), in pixels; of no meaning where nothing is assigned.
    """

    assigned: Tensor
    scores: Tensor
    corners: Tensor


def _assigned(answer: _Answer, given: Tensor, labels: Tensor, corners: Tensor) -> _Aim:
    """Task-aligned assignment.

    Args:
        answer: of the network.
        given: bool, (n, most), whether there is an object.
        labels: int64, (n, most).
        corners: (n, most, 4), in pixels.
    """
    inside = _inside(answer.centres, corners) & given[..., None]  # (n, most, a)
    score = (
        answer.scores.sigmoid()
        .gather(2, labels[:, None, :].expand(-1, answer.scores.shape[1], -1))
        .transpose(1, 2)
    )
    iou = _iou(corners[:, :, None, :], answer.corners[:, None, :, :])
    aligned = score**ALPHA * iou**BETA * inside
    chosen = torch.zeros_like(inside)
    best = aligned.topk(min(TOP, aligned.shape[2]), dim=2).indices
    chosen.scatter_(2, best, value=True)
    chosen &= inside
    # an anchor that several objects want answers for the one that it fits best
    owner = torch.where(chosen, iou, -1.0).argmax(1)  # (n, a)
    assigned = chosen.any(1)
    own = F.one_hot(owner, chosen.shape[1]).transpose(1, 2).bool() & chosen
    metric, fit = aligned * own, iou * own
    share = metric / metric.amax(2, keepdim=True).clamp(min=_TINY) * fit.amax(2, keepdim=True)
    wanted = labels.gather(1, owner)
    scores = F.one_hot(wanted, answer.scores.shape[2]) * (share.amax(1) * assigned)[..., None]
    return _Aim(assigned, scores, corners.gather(1, owner[..., None].expand(-1, -1, 4)))


def _inside(centres: Tensor, corners: Tensor) -> Tensor:
    """Whether each anchor lies in each box: (n, most, a)."""
    before = centres - corners[:, :, None, :2]
    behind = corners[:, :, None, 2:] - centres
    return torch.cat((before, behind), -1).amin(-1) > _TINY


def _bins_loss(answer: _Answer, aim: _Aim, where: Tensor) -> Tensor:
    """The distribution focal loss of each assigned anchor, (assigned,): a mean over its sides."""
    logits, bins = answer.bins[where], answer.bins.shape[-1]
    at, stride = answer.centres.expand(*where.shape, 2)[where], answer.strides.expand(where.shape)
    corners = aim.corners[where]
    distance = torch.cat((at - corners[:, :2], corners[:, 2:] - at), 1) / stride[where][:, None]
    distance = distance.clamp(0, bins - 1 - 0.01)
    low = distance.long()
    share = distance - low
    flat = logits.flatten(0, 1)
    below = F.cross_entropy(flat, low.flatten(), reduction="none").view_as(share)
    above = F.cross_entropy(flat, low.flatten() + 1, reduction="none").view_as(share)
    return (below * (1 - share) + above * share).mean(1)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """The intersection over union of boxes that broadcast: (..., 4) to (...)."""
    both, union, _ = _areas(a, b)
    return both / union


def _giou(a: Tensor, b: Tensor) -> Tensor:
    both, union, around = _areas(a, b)
    return both / union - (around - union) / around


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the intersection, the union, and the smallest box around both."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    sizes = [(one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1) for one in (a, b)]
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    return both, (sizes[0] + sizes[1] - both).clamp(min=_TINY), outer.prod(-1).clamp(min=_TINY)
