"""The importance of each unit alone."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from single_directions.ablation.accuracy import correct, tally
from single_directions.ablation.adapting import BatchToXY, Output
from single_directions.ablation.measurement import MEMORY_BUDGET, Batches, Clamp, measurement
from single_directions.ablation.places import UnitDim
from single_directions.ablation.reference import Reference


def unit_importance(
    network: nn.Module,
    batches: Batches,
    sites: Sequence[str] | None = None,
    clamp: Clamp = "zero",
    top_k: int = 1,
    method: str = "auto",
    progress: bool = False,
    memory_budget: int = MEMORY_BUDGET,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
    batch_to_xy: BatchToXY | None = None,
    output: Output | None = None,
) -> Tensor:
    """How much accuracy falls if one unit alone is clamped, for each unit (section 2, "Ablations").

    >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> unit_importance(network, [(torch.randn(100, 4), torch.randint(3, (100,)))]).shape
    torch.Size([8])

    The arguments are those of `ablation_curve`.

    Returns:
        float64, (units,), accuracy with nothing clamped less accuracy with the unit clamped, -1 to 1; the units of all
        sites, site by site.

    Raises:
        BadInput: an argument is wrong; raised before anything is measured.
    """
    with measurement(
        network, batches, sites, clamp, top_k, method, memory_budget, unit_dim, batch_to_xy, output
    ) as measured:
        units = range(measured.network.units)
        alone = torch.zeros(len(units), dtype=torch.int64, device=measured.values.device)
        plain = torch.zeros((), dtype=torch.int64, device=measured.values.device)
        images, definition = 0, Reference(measured.network, measured.values)
        with measured.bar(1, progress) as bar:
            for inputs, targets in measured.images():
                measured.method.start(inputs)
                tally(measured.method.single(units), targets, top_k, alone)
                definition.start(inputs)
                ((_, logits),) = definition.single([-1])  # no unit is clamped
                plain += correct(logits, targets, top_k).sum()
                images += len(targets)
                bar.update(len(targets))
    return ((plain - alone).double() / images).cpu()
