"""The cumulative ablation curve and the area under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from single_directions.ablation.accuracy import tally
from single_directions.ablation.adapting import BatchToXY, Output
from single_directions.ablation.measurement import MEMORY_BUDGET, Batches, Clamp, measurement
from single_directions.ablation.orderings import Points, draw_orderings, grid
from single_directions.ablation.places import UnitDim
from single_directions.ablation.sites import Site
from single_directions.ablation.verification import Verification
from single_directions.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class AblationCurve:
    """Accuracy as ever more units are clamped: the cumulative ablation curve (section 2; Figure 1).

    Attributes:
        accuracy: float64, (orderings, points), fraction of images answered right, 0 to 1.
        units_ablated: int64, (points,), how many units are clamped.
        units: of all sites together.
        orderings: int64, (orderings, units), the permutations; unit numbers run through the sites in order.
            ``None`` for a curve read back from a table.
        sites: names and unit counts; empty for a curve read back from a table.
        images: how many were measured.
        clamp, top_k: as asked.
        method, why: the method that measured it, and why that one.
    """

    accuracy: Tensor
    units_ablated: Tensor
    units: int
    orderings: Tensor | None = None
    sites: tuple[Site, ...] = ()
    images: int | None = None
    clamp: Clamp = "zero"
    top_k: int = 1
    method: str = ""
    why: str = ""

    @property
    def fraction_ablated(self) -> Tensor:
        """float64, (points,), 0 to 1."""
        return self.units_ablated.double() / self.units

    @property
    def auc(self) -> Tensor:
        """float64, (orderings,), trapezoid area under accuracy against the fraction ablated, 0 to 1 (Figure 2b).

        Raises:
            BadInput: the points do not reach from none to all units.
        """
        ends = self.units_ablated[[0, -1]].tolist()
        if ends != [0, self.units]:
            raise BadInput(f"points: an area needs points from 0 to {self.units} units, these reach from {ends}")
        return torch.trapezoid(self.accuracy, self.fraction_ablated)

    @property
    def auc_normalized(self) -> Tensor:
        """float64, (orderings,), `auc` over the accuracy with nothing ablated; NaN where that is 0."""
        return self.auc / self.accuracy[:, 0]

    @property
    def auc_corrected(self) -> Tensor:
        """float64, (orderings,), (`auc` - floor) / (accuracy - floor), with the accuracy at both ends of the curve.

        The floor is the accuracy with all units clamped. 0.5 is a straight line; unlike `auc_normalized`, it is never
        near 1 only because the network guesses. NaN where accuracy is not above the floor. Not in the paper.
        """
        floor, accuracy = self.accuracy[:, -1], self.accuracy[:, 0]
        return torch.where(accuracy > floor, (self.auc - floor) / (accuracy - floor), torch.nan)

    def to_frame(self) -> pd.DataFrame:
        """A table with a row for each ordering and point: ordering, units_ablated, fraction_ablated, accuracy."""
        import pandas as pd

        orderings, points = self.accuracy.shape
        return pd.DataFrame(
            {
                "ordering": torch.arange(orderings).repeat_interleave(points).numpy(),
                "units_ablated": self.units_ablated.repeat(orderings).numpy(),
                "fraction_ablated": self.fraction_ablated.repeat(orderings).numpy(),
                "accuracy": self.accuracy.flatten().numpy(),
            }
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> AblationCurve:
        """A curve from the table that `to_frame` made.

        Raises:
            BadInput: a column is missing, or some ordering lacks a point.
        """
        missing = {"ordering", "units_ablated", "fraction_ablated", "accuracy"} - set(frame.columns)
        if missing:
            raise BadInput(f"curve: the table lacks the column {min(missing)}")
        wide = frame.pivot(index="ordering", columns="units_ablated", values="accuracy")
        if wide.isna().to_numpy().any() or wide.empty:
            raise BadInput("curve: the table lacks a point of some ordering")
        last = frame.iloc[int(frame["units_ablated"].to_numpy().argmax())]
        if last["fraction_ablated"] == 0:
            raise BadInput("curve: the table holds no point with a unit ablated")
        return cls(
            accuracy=torch.tensor(wide.to_numpy(), dtype=torch.float64),
            units_ablated=torch.tensor(wide.columns.to_numpy(), dtype=torch.int64),
            units=round(float(last["units_ablated"]) / float(last["fraction_ablated"])),
        )


def ablation_curve(
    network: nn.Module,
    batches: Batches,
    sites: Sequence[str] | None = None,
    orderings: int = 10,
    points: Points = None,
    clamp: Clamp = "zero",
    top_k: int = 1,
    generator: torch.Generator | None = None,
    method: str = "auto",
    progress: bool = False,
    verify: int = 0,
    memory_budget: int = MEMORY_BUDGET,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
    batch_to_xy: BatchToXY | None = None,
    output: Output | None = None,
) -> AblationCurve:
    """Clamp ever more units of a network in random order and measure its accuracy (section 2, "Ablations").

    The network is measured in eval mode, without gradients. Afterwards its modes, its hooks and the random states are
    as before. It stays on its device, and batches are moved there.

    >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> batches = [(torch.randn(100, 4), torch.randint(3, (100,)))]
    >>> curve = ablation_curve(network, batches, orderings=5, points=9)
    >>> curve.accuracy.shape, curve.auc_normalized.shape, curve.units_ablated.tolist()
    (torch.Size([5, 9]), torch.Size([5]), [0, 1, 2, 3, 4, 5, 6, 7, 8])

    Args:
        network: any module from inputs (images, ...) to logits (images, classes).
        batches: pairs (inputs (images, ...), targets (images,)), a list or a DataLoader; streamed.
        sites: names as in ``torchvision.models.feature_extraction.get_graph_node_names``; ``None`` is the network's own
            ``default_sites``, or every activation function where it has none (docs/architectures.md has the rule).
        orderings: how many random orderings of all units of all sites together.
        points: how many numbers of units ablated, from none to all; ``"all"`` for each number; a list of the numbers
            themselves; ``None`` for 51, or all where there are fewer.
        clamp: the value of a clamped unit: ``"zero"``, ``"mean"`` (its mean over the images and positions of
            `batches`), or a number.
        top_k: an answer is right if the target is among the k largest logits (5 for ImageNet); see `correct` for ties.
        generator: draws the orderings; ``None`` is one with seed 0, so the same orderings at every call.
        method: ``"incremental"``, ``"prefix"``, ``"reference"`` (the definition), or ``"auto"``, the fastest that is
            exact for this network.
        progress: show a bar.
        verify: how many random (ordering, point) pairs to check against the definition, on all images.
        memory_budget: bytes that the fast methods may use beyond the network and a batch.
        unit_dim: the dimension of the sites' outputs in which units lie, for all sites or by name; ``None`` is that of
            the outputs of the layer that computed it: neurons, feature maps, or channels of a token model. ``"head"``
            makes attention heads the units, those of an `nn.MultiheadAttention` or of what the projection of another
            attention reads.
        batch_to_xy: makes a pair (inputs, targets) of a batch, as ``lambda batch: (batch["image"], batch["label"])``.
        output: where the logits are if the network gives more: a key, a position or the name of an attribute, such as
            ``"logits"``, or a function.

    Raises:
        BadInput: an argument is wrong; raised before anything is measured.
        RuntimeError: `verify` found a difference that rounding does not explain.
    """
    if not isinstance(verify, int) or verify < 0:
        raise BadInput(f"verify={verify!r}: a number of points to check, 0 or more, is needed")
    with measurement(
        *(network, batches, sites, clamp, top_k, method, memory_budget, unit_dim, batch_to_xy, output),
        form=(orderings, points),
    ) as measured:
        units = measured.network.units
        ablated = grid(units, points)
        permutations = draw_orderings(units, orderings, generator)
        check = Verification(measured.network, measured.values, permutations, ablated, verify)
        counts = torch.zeros(len(permutations), len(ablated), dtype=torch.int64, device=measured.values.device)
        images = 0
        with measured.bar(orderings, progress) as bar:
            for inputs, targets in measured.images():
                measured.method.start(inputs)
                for number, ordering in enumerate(permutations):
                    stream = measured.method.cumulative(ordering, ablated.tolist())
                    tally(check.watch(stream, inputs, number), targets, top_k, counts[number])
                    bar.update(len(targets))
                images += len(targets)
    return AblationCurve(
        accuracy=counts.cpu().double() / images,
        units_ablated=ablated,
        units=units,
        orderings=permutations,
        sites=measured.network.sites,
        images=images,
        clamp=clamp,
        top_k=top_k,
        method=measured.method.name,
        why=measured.why,
    )
