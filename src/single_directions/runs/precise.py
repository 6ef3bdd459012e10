"""The AUC of a trained network with its standard error, as results give it beside the curve."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from single_directions.ablation import AblationCurve, AblationEstimate, ablation_auc
from single_directions.ablation.estimate import plan_auc
from single_directions.data import DataSet
from single_directions.data.images import Batch, labels_of
from single_directions.training import measuring_loader, unwarned

PRECISION = 0.002
"""The standard error that the raw and normalized AUC have at most, unless that takes too many masks."""
_MASKS, _MOST_MASKS = 20_000, 100_000


def precise_auc(
    network: nn.Module, data: DataSet, images: Dataset[Batch], keys: Mapping[str, Any], curve: AblationCurve
) -> AblationEstimate:
    """What `curve`, on `images` of `data`, gives by few orderings, with a standard error of at most `PRECISION`.

    It is the mean over all orderings for the same images, of which some are drawn where they are more than needed. No
    more masks are asked for than the curve has pairs of an image and a mask, nor more than 100,000. `keys` are the
    configuration's `ablation`: sites, points, clamp, top_k and seed. What there is to warn of, the curve has.
    """
    available, device = len(images), next(network.parameters()).device  # type: ignore[arg-type]
    labels = labels_of(images)
    inputs, _ = next(iter(measuring_loader(data, Subset(images, range(min(8, available))))))
    most = min(_MOST_MASKS, available * curve.accuracy.numel())
    masks = min(_MASKS, most)
    with unwarned():
        while True:
            plan = plan_auc(network, inputs.to(device), available, keys["sites"], masks, keys["points"])
            order = torch.randperm(available, generator=torch.Generator().manual_seed(keys["seed"]))
            chosen = order[: plan.images].sort().values.tolist()
            found = ablation_auc(
                network,
                measuring_loader(data, Subset(images, chosen)),
                masks=masks,
                masks_per_image=plan.masks_per_image or None,
                population=available if labels is None else torch.bincount(labels),
                **{key: keys[key] for key in ("sites", "points", "clamp", "top_k", "seed")},
            )
            errors = (found.auc_se, found.auc_normalized_se)
            error = max((one for one in errors if math.isfinite(one)), default=0.0)
            if error <= PRECISION or masks >= most:
                return found
            masks = min(most, math.ceil(1.1 * masks * (error / PRECISION) ** 2))


def areas(estimate: AblationEstimate) -> dict[str, float | int | None]:
    """The areas of an estimate with their standard errors, as columns; None where one is not defined."""
    names = [name + se for name in ("auc", "auc_normalized", "auc_corrected") for se in ("", "_se")]
    values: dict[str, float] = {name: getattr(estimate, name) for name in names}
    return {f"estimate_{name}": value if math.isfinite(value) else None for name, value in values.items()} | {
        "estimate_masks": estimate.masks
    }
