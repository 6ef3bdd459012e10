import numpy as np
import pytest
import torch

from single_directions.ablation.orderings import DEFAULT_POINTS, draw_orderings, grid
from single_directions.errors import BadInput


def test_each_ordering_holds_each_unit_once() -> None:
    orderings = draw_orderings(57, 6)
    assert orderings.shape == (6, 57)
    assert orderings.dtype == torch.int64
    assert torch.equal(orderings.sort().values, torch.arange(57).expand(6, 57))
    assert len({tuple(row) for row in orderings.tolist()}) == 6


def test_every_permutation_is_about_as_likely() -> None:
    drawn = [tuple(row) for row in draw_orderings(3, 3000).tolist()]
    counts = [drawn.count(permutation) for permutation in set(drawn)]
    assert len(counts) == 6
    assert min(counts) > 400  # 500 are expected, with a standard deviation of 20
    assert max(counts) < 600


def test_seeded_alone_and_not_by_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw_orderings(20, 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(draw_orderings(20, 2), first)


def test_more_orderings_begin_with_the_same_ones() -> None:
    assert torch.equal(draw_orderings(20, 5)[:2], draw_orderings(20, 2))


def test_a_generator_of_ones_own() -> None:
    def seed(number: int) -> torch.Generator:
        return torch.Generator().manual_seed(number)

    assert torch.equal(draw_orderings(20, 2, seed(5)), draw_orderings(20, 2, seed(5)))
    assert not torch.equal(draw_orderings(20, 2, seed(5)), draw_orderings(20, 2, seed(6)))
    generator = seed(5)
    assert not torch.equal(draw_orderings(20, 2, generator), draw_orderings(20, 2, generator))


@pytest.mark.parametrize("orderings", [0, -1])
def test_no_ordering(orderings: int) -> None:
    with pytest.raises(BadInput, match=f"orderings={orderings}"):
        draw_orderings(20, orderings)


def test_points_are_as_even_as_whole_numbers_can_be() -> None:
    for units in range(1, 90):
        for points in range(2, units + 2):
            numbers = grid(units, points)
            assert len(numbers) == points
            assert (numbers.diff() > 0).all()
            assert numbers[[0, -1]].tolist() == [0, units]
            even = torch.arange(points, dtype=torch.float64) * units / (points - 1)
            assert (numbers - even).abs().max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("units", "points", "expected"),
    [
        (10, 5, [0, 2, 5, 8, 10]),
        (1, 2, [0, 1]),
        (4, "all", [0, 1, 2, 3, 4]),
        (9, np.int64(4), [0, 3, 6, 9]),
    ],
)
def test_a_hand_computed_grid(units: int, points: int | str, expected: list[int]) -> None:
    assert grid(units, points).tolist() == expected


def test_default_points_shrink_where_there_are_fewer_units() -> None:
    assert len(grid(1000)) == DEFAULT_POINTS == 51
    assert grid(50).tolist() == list(range(51))
    assert grid(3).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("listed", [[4], (0, 3, 7), torch.tensor([0, 3, 7]), np.array([0, 3, 7]), range(0, 8, 7)])
def test_listed_points(listed) -> None:
    assert grid(9, listed).tolist() == list(listed)


def test_more_points_than_units_can_give() -> None:
    assert len(grid(5, 6)) == 6
    with pytest.raises(BadInput, match="points=7 is more than 5 units can give: at most 6"):
        grid(5, 7)


@pytest.mark.parametrize("points", [1, 0, -3, "some", [], [0, 0, 1], [3, 2], [-1, 2], [0, 6], 2.5, [0, 1.5], [0, "a"]])
def test_points_that_cannot_be(points) -> None:
    with pytest.raises(BadInput, match="points="):
        grid(5, points)
