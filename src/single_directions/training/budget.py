"""How many images and masks `AblationAUC` measures for what it may cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from single_directions.ablation.estimate import Plan, plan_auc
from single_directions.ablation.orderings import DEFAULT_POINTS
from single_directions.ablation.places import UnitDim

ENOUGH = 50_000
"""An epoch of fewer images gets no more masks than one of this many, however cheap a mask is."""
LEAST = 1000
"""Masks that are measured however few an epoch's share is."""


def plan_for(
    network: nn.Module,
    inputs: Tensor,
    available: int,
    sites: Sequence[str] | None,
    cost: float,
    epoch: int,
    processes: int,
    memory_budget: int,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
) -> Plan:
    """What to measure of `available` images like `inputs` (images, ...) for a share `cost` of an `epoch` of images.

    It follows from the network, not from how fast the machine is: the same training is measured alike everywhere.

    Raises:
        BadInput: the sites cannot be, or the network cannot take the inputs.
    """
    passes, most = cost * 3 * epoch, cost * 3 * max(epoch, ENOUGH)
    least = LEAST * max(1.0, processes / 2)  # each process needs some masks at each point

    def plan(images: int) -> Plan:
        return plan_auc(
            network,
            inputs,
            images,
            sites,
            passes=passes,
            least=round(least),
            most=max(most, least),
            memory_budget=memory_budget,
            unit_dim=unit_dim,
        )

    chosen, enough = plan(available), max(passes, least)
    if chosen.together and chosen.passes > 2 * enough:  # images share masks, and all are measured
        return plan(max(1, int(available * enough / chosen.passes)))
    return chosen


def with_masks_for(plan: Plan, batches: int) -> Plan:
    """The plan, with as many masks as each point needs where all images of a batch share theirs."""
    each = max(plan.masks_per_image, -(-2 * DEFAULT_POINTS // batches))
    passes = plan.passes * (2 + each) / (2 + plan.masks_per_image)
    return replace(plan, masks_per_image=each, passes=passes)


def told_cost(passes: float, epoch: int) -> str:
    """A measurement's cost in words."""
    if not epoch:
        return f"which cost {passes:,.0f} forward passes of an image"
    return f"which cost {passes / (3 * epoch):.2%} of an epoch's arithmetic"
