"""Which images are used and what they are labelled: pure functions of labels, int64 (n,), and a seed."""

import hashlib

import torch
from torch import Tensor

from single_directions.errors import BadInput

KINDS = ("shuffle", "uniform")


def corrupt(labels: Tensor, corruption: float, kind: str = "shuffle", seed: int = 0) -> Tensor:
    """Labels of which round(corruption * n), chosen at random, are corrupted (section 2, "Partially corrupted labels").

    "shuffle" permutes the chosen labels among themselves, so that class counts stay as they are; "uniform" replaces
    each by a class drawn uniformly from those that occur. Either way a label may come out true by chance. Under one
    seed the labels chosen at a lower corruption are among those chosen at a higher one. Raises `BadInput` for a
    corruption outside 0..1 or an unknown kind.
    """
    check_corruption(corruption, kind)
    chosen = torch.randperm(len(labels), generator=_generator(seed, "chosen"))[: round(corruption * len(labels))]
    generator = _generator(seed, kind)
    corrupted = labels.clone()
    if kind == "shuffle":
        corrupted[chosen] = labels[chosen[torch.randperm(len(chosen), generator=generator)]]
    else:
        classes = labels.unique()
        # Drawn for every label, so that one chosen at two levels is replaced alike at both.
        drawn = classes[torch.randint(len(classes), labels.shape, generator=generator)]
        corrupted[chosen] = drawn[chosen]
    return corrupted


def check_corruption(corruption: float, kind: str) -> None:
    """Raises `BadInput` for a corruption outside 0..1 or an unknown kind."""
    if not isinstance(corruption, (int, float)) or not 0 <= corruption <= 1:
        raise BadInput(f"data.corruption must lie between 0 and 1, not {corruption}")
    if kind not in KINDS:
        raise BadInput(f"data.corruption_kind must be one of {', '.join(KINDS)}, not {kind}")


def class_balanced_subset(
    labels: Tensor, samples: int, seed: int = 0, key: str = "samples", purpose: str = "subset"
) -> Tensor:
    """Sorted indices of `samples` random images, as many of each class as there can be.

    The classes' counts differ by at most 1, save that a class too small for its share gives all it has and the others
    share the rest. Under one seed and purpose a smaller subset lies within a larger one. Raises `BadInput`, which names
    `key`, for fewer samples than classes or more than there are.
    """
    counts = labels.unique(return_counts=True)[1]
    if not len(counts) <= samples <= len(labels):
        raise BadInput(
            f"{key} must lie between {len(counts)}, one a class, and {len(labels)}, all there are: not {samples}"
        )
    order = torch.randperm(len(labels), generator=_generator(seed, purpose))
    by_class = labels[order].argsort(stable=True)
    # A label's turn: how many of its class come before it in the random order. All classes' first come first.
    starts = counts.cumsum(0) - counts
    turn = torch.empty_like(order)
    turn[by_class] = torch.arange(len(labels)) - starts.repeat_interleave(counts)
    return order[turn.argsort(stable=True)[:samples]].sort().values


def label_hash(labels: Tensor) -> str:
    """The first 16 hexadecimal digits of the labels' SHA-256, the same on every machine."""
    return hashlib.sha256(labels.cpu().numpy().astype("<i8").tobytes()).hexdigest()[:16]


def _generator(seed: int, purpose: str) -> torch.Generator:
    """A generator of its own for each purpose, so that what one draws never shifts what another does."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
