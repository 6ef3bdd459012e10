"""Property tests: on random networks with random sites, all methods give the same."""

import warnings

import torch
from drawn_networks import Case, cases
from exactness import PLENTY, assert_exact, located
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from single_directions.ablation import ablation_curve, incremental, unit_importance

CLAMPS = st.sampled_from([0.0, 0.0, 0.7, -1.3, "each"])


def drawing(examples: int) -> settings:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=slow,
    )


def some(data: st.DataObject, most: int, ends: bool) -> list[int]:
    """A few numbers from 0 to `most`, in order."""
    drawn = data.draw(st.sets(st.integers(0, most), min_size=1, max_size=6))
    return sorted(drawn | {0, most} if ends else drawn)


@drawing(160)
@given(cases(), CLAMPS, st.data())
def test_logits_are_the_same_in_double_precision(case: Case, clamp: str | float, data: st.DataObject) -> None:
    units = located(case.network, case.sites, case.inputs).units
    points = some(data, units, ends=data.draw(st.booleans()))
    alone = some(data, units - 1, ends=True)
    assert_exact(case.network, case.inputs, case.sites, clamp, points, alone, orderings=1, seed=case.seed)


@drawing(40)
@given(cases(torch.float32), CLAMPS, st.data())
def test_logits_are_the_same_to_rounding_in_single_precision(
    case: Case, clamp: str | float, data: st.DataObject
) -> None:
    units = located(case.network, case.sites, case.inputs).units
    alone = some(data, units - 1, ends=True)
    assert_exact(case.network, case.inputs, case.sites, clamp, some(data, units, True), alone, orderings=1)


@drawing(25)
@given(cases(), CLAMPS)
def test_slices_of_any_width(case: Case, clamp: str | float) -> None:
    """Rounding widths up hides what a slice cut too short would do."""
    rounded, incremental._ROUND_TO = incremental._ROUND_TO, 1
    try:
        sited = located(case.network, case.sites, case.inputs)
        points = sorted({0, 1, 2, sited.units // 2, sited.units})
        assert_exact(case.network, case.inputs, case.sites, clamp, points, [0], orderings=1, seed=case.seed)
    finally:
        incremental._ROUND_TO = rounded


@drawing(25)
@given(cases(), st.sampled_from(["zero", "mean", 0.4]), st.integers(1, 3), st.data())
def test_curves_and_importances_are_the_same(case: Case, clamp: str | float, top_k: int, data: st.DataObject) -> None:
    """Batches of uneven sizes, portions of any size; counts are equal, as no drawn network has ties but exact ones."""
    generator = torch.Generator().manual_seed(case.seed)
    inputs = torch.randn(7, *case.inputs.shape[1:], dtype=case.inputs.dtype, generator=generator)
    targets = torch.randint(4, (7,), generator=generator)
    sizes = data.draw(st.sampled_from([(7,), (3, 3, 1), (1, 5, 1), (1,) * 7]))
    batches = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
    points = some(data, located(case.network, case.sites, inputs).units, ends=True)
    budget = data.draw(st.sampled_from([1, 20_000, PLENTY]))

    def curve(method: str) -> Tensor:
        generator = torch.Generator().manual_seed(case.seed)
        return ablation_curve(
            *(case.network, batches, case.sites, 2, points, clamp, top_k, generator),
            method=method,
            memory_budget=budget,
        ).accuracy

    def importance(method: str) -> Tensor:
        return unit_importance(case.network, batches, case.sites, clamp, top_k, method, memory_budget=budget)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sites? .* changes no output")
        expected = curve("reference")
        for method in ("prefix", "incremental", "auto"):
            assert torch.equal(curve(method), expected)
        expected = importance("reference")
        for method in ("prefix", "incremental"):
            assert torch.equal(importance(method), expected)
