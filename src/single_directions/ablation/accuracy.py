"""Which answers count as correct: top-k with one rule for ties."""

from collections.abc import Iterable

import torch
from torch import Tensor

_LOGITS_AT_ONCE = 2**20


def correct(logits: Tensor, targets: Tensor, top_k: int = 1) -> Tensor:
    """Whether the target is among the `top_k` largest logits; of equal logits the lowest class comes first.

    ``torch.topk`` and ``torch.argmax`` break ties differently, and ablated networks have ties (every image gets the
    same output once all units are clamped), so the rank is counted: the number of classes with a larger logit, or with
    an equal one and a lower index. A NaN is larger than everything and is never right. A single
    logit is that of class 1 in a network of two classes, against 0 for class 0.

    Args:
        logits: (..., images, classes).
        targets: int64, (images,).
        top_k: how many classes may be named, 1 or more.

    Returns:
        bool, (..., images).
    """
    if logits.shape[-1] == 1:
        only = logits.squeeze(-1)
        return ((only > 0) == (targets == 1)) & ~only.isnan()
    index = targets.expand(logits.shape[:-1]).unsqueeze(-1)
    own = logits.gather(-1, index)
    if top_k == 1:  # the first of the largest, as max is documented to return; far faster than counting, or argmax
        return (logits.max(-1).indices == index.squeeze(-1)) & ~own.isnan().squeeze(-1)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    before = ~(logits <= own) | ((logits == own) & (classes < index))
    return (before.sum(-1) < top_k) & ~own.isnan().squeeze(-1)


def tally(stream: Iterable[tuple[int, Tensor]], targets: Tensor, top_k: int, counts: Tensor) -> None:
    """Add up how many images are answered right at each point of a stream.

    Many points are judged together, and the device is not waited for.

    Args:
        stream: pairs (point, logits (images, classes)); the logits may be overwritten once the next pair is asked for.
        targets: int64, (images,).
        top_k: as `correct`.
        counts: int64, (points,), added to in place.
    """
    points: list[int] = []
    right: list[Tensor] = []
    waiting: Tensor | None = None
    filled = 0
    for point, logits in stream:
        if waiting is None:
            waiting = logits.new_empty(max(1, _LOGITS_AT_ONCE // logits.numel()), *logits.shape)
        waiting[filled] = logits
        points.append(point)
        filled += 1
        if filled == len(waiting):
            right.append(correct(waiting, targets, top_k).sum(-1))
            filled = 0
    if waiting is not None:
        right.append(correct(waiting[:filled], targets, top_k).sum(-1))
        counts.index_add_(0, torch.tensor(points).to(counts.device, non_blocking=True), torch.cat(right))
