"""What ways to measure cost, by arithmetic: the same choice at every run, on every machine.

All is counted in operations (multiplications and additions) of a large matrix product. Writing memory and starting a
kernel are counted in them too, since small networks spend most of their time with these.
"""

import math
from typing import NamedTuple

from torch import Tensor, fx

from single_directions.ablation.dataflow import Dataflow

OPERATIONS_A_BYTE = 25
"""Operations that take as long as a node needs for a byte of its output."""
OPERATIONS_A_CALL = 2e6
"""Operations that take as long as running a node on nothing."""


class Curve(NamedTuple):
    """A curve to be measured.

    Attributes:
        orderings: how many.
        fractions: float64, (points,), of units clamped.
        images, batch: how many images, all and in one batch.
    """

    orderings: int
    fractions: Tensor
    images: int
    batch: int

    @property
    def passes(self) -> int:
        """Points of all orderings."""
        return self.orderings * len(self.fractions)


def operations(flow: Dataflow) -> dict[fx.Node, float]:
    """What it takes to run each node on one image, once it is started."""
    seen = {node: flow.seen[node] for node in flow.needed}
    return {
        node: one.flops + (OPERATIONS_A_BYTE * one.bytes if node.all_input_nodes else 0.0) for node, one in seen.items()
    }


def reference_cost(costs: dict[fx.Node, float], curve: Curve) -> float:
    """The whole network for each point, with the costs of its nodes for one image."""
    calls = math.ceil(curve.images / curve.batch) * len(costs)
    return curve.passes * (curve.images * sum(costs.values()) + OPERATIONS_A_CALL * calls)


def prefix_cost(flow: Dataflow, costs: dict[fx.Node, float], curve: Curve, rows_at_once: int) -> float:
    """What lies before the first site once, the rest for each point."""
    before = sum(costs[node] for node in flow.fixed)
    calls = math.ceil(curve.images * curve.passes / rows_at_once) * (len(costs) - len(flow.fixed))
    calls += math.ceil(curve.images / rows_at_once) * len(flow.fixed)
    rest = sum(costs.values()) - before
    return curve.images * (before + curve.passes * rest) + OPERATIONS_A_CALL * calls
