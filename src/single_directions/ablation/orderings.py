"""Random orderings of units, and the points along them at which accuracy is taken."""

import operator
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from single_directions.errors import BadInput

DEFAULT_POINTS = 51

Points = int | str | Sequence[int] | None


def draw_orderings(units: int, orderings: int, generator: torch.Generator | None = None) -> Tensor:
    """Independent uniform permutations of all units of all sites together (section 2, "Ablations").

    Along one ordering the first k units are clamped, so the sets clamped at successive points are nested.

    Args:
        units: how many units there are.
        orderings: how many permutations to draw, 1 or more.
        generator: where the randomness comes from; ``None`` is a new generator with seed 0, never the global one,
            so that a measurement neither depends on training nor disturbs it.

    Returns:
        int64, (orderings, units), on the CPU.
    """
    if not isinstance(orderings, int) or orderings < 1:
        raise BadInput(f"orderings={orderings}: a whole number of at least 1 is needed")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    permutations = [torch.randperm(units, generator=generator, device=generator.device) for _ in range(orderings)]
    return torch.stack(permutations).cpu()


def grid(units: int, points: Points = None) -> Tensor:
    """Numbers of units ablated, from none to all, as evenly spaced as whole numbers can be.

    Args:
        units: how many units there are.
        points: how many points (2 or more), ``"all"`` for every number from 0 to `units`, the numbers themselves
            (strictly increasing), or ``None`` for 51 points, fewer where there are fewer units.

    Returns:
        int64, (points,), strictly increasing.

    Raises:
        BadInput: more points are asked for than the units + 1 there can be.
    """
    most = units + 1
    if points is None:
        points = min(DEFAULT_POINTS, most)
    if isinstance(points, str):
        if points != "all":
            raise BadInput(f'points={points!r}: a number, a list of numbers, or "all"')
        points = most
    if isinstance(points, int | Integral):  # numpy's too
        points = int(points)
        if points < 2:
            raise BadInput(f"points={points}: at least 2 are needed, none ablated and all ablated")
        if points > most:
            raise BadInput(f'points={points} is more than {units} units can give: at most {most}, or points="all"')
        return torch.linspace(0, units, points, dtype=torch.float64).round().long()
    try:
        numbers = torch.tensor([operator.index(point) for point in points], dtype=torch.int64)
    except TypeError:
        raise BadInput(f'points={points!r}: a number, a list of numbers, or "all"') from None
    if not len(numbers) or (numbers.diff() <= 0).any() or numbers[0] < 0 or numbers[-1] > units:
        raise BadInput(f"points={list(points)}: strictly increasing numbers from 0 to {units} are needed")
    return numbers
