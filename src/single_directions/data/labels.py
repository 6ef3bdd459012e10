"""Subsets of images and corruption of labels: pure functions of labels, int64 (n,), and a seed."""

import hashlib

import torch
from torch import Tensor

from single_directions.errors import BadInput

KINDS = ("shuffle", "uniform")


def corrupt(labels: Tensor, corruption: float, kind: str = "shuffle", seed: int = 0) -> Tensor:
    """Corrupts round(corruption * n) of the labels, chosen at random (section 2, "Partially corrupted labels").

    "shuffle" permutes the chosen labels among themselves, which keeps the class counts; "uniform" replaces each by a
    class drawn uniformly from those that occur. In both cases a label can be true by chance. With the same seed, the
    labels chosen at a lower corruption are also chosen at a higher one.
    """
    chosen = torch.randperm(len(labels), generator=_generator(seed, "chosen"))[: round(corruption * len(labels))]
    generator = _generator(seed, kind)
    corrupted = labels.clone()
    if kind == "shuffle":
        corrupted[chosen] = labels[chosen[torch.randperm(len(chosen), generator=generator)]]
    else:
        classes = labels.unique()
        # Drawn for every label: one that is chosen at two levels gets the same class at both.
        drawn = classes[torch.randint(len(classes), labels.shape, generator=generator)]
        corrupted[chosen] = drawn[chosen]
    return corrupted


def class_balanced_subset(
    labels: Tensor, samples: int, seed: int = 0, key: str = "samples", purpose: str = "subset"
) -> Tensor:
    """Sorted indices of `samples` random images, equally many of each class where possible.

    The counts of the classes differ by at most 1. A class that is smaller than its share gives all its images, and the
    other classes share the rest. With the same seed and purpose a smaller subset lies within a larger one. Raises
    `BadInput`, which names `key`, for fewer samples than classes or more than there are images.
    """
    counts = labels.unique(return_counts=True)[1]
    if not len(counts) <= samples <= len(labels):
        raise BadInput(
            f"{key} must lie between {len(counts)}, one for each class, and {len(labels)}, all images: not {samples}"
        )
    order = torch.randperm(len(labels), generator=_generator(seed, purpose))
    by_class = labels[order].argsort(stable=True)
    # The turn of a label: how many of its class come before it in the random order. The lowest turns are taken first.
    starts = counts.cumsum(0) - counts
    turn = torch.empty_like(order)
    turn[by_class] = torch.arange(len(labels)) - starts.repeat_interleave(counts)
    return order[turn.argsort(stable=True)[:samples]].sort().values


def label_hash(labels: Tensor) -> str:
    """The first 16 hexadecimal digits of the labels' SHA-256, the same on every machine."""
    return hashlib.sha256(labels.cpu().numpy().astype("<i8").tobytes()).hexdigest()[:16]


def _generator(seed: int, purpose: str) -> torch.Generator:
    """A separate generator for each purpose: what one draws never changes what another draws."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
