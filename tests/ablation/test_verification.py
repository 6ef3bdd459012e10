import pytest
import torch
from exactness import Function, images, located, seeded
from torch import nn

from single_directions.ablation import ablation_curve
from single_directions.ablation.prefix import Prefix
from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import undisturbed
from single_directions.ablation.verification import Verification


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 4))


ORDERINGS = torch.stack([torch.arange(20), torch.arange(20).flip(0)])
ABLATED = torch.tensor([0, 5, 20])


def watched(
    pairs: int, error: float, dtype: torch.dtype = torch.float64, at: tuple[int, int] = (1, 1)
) -> list[Reference]:
    """Watch the reference itself, with an error (of the largest logit or 1) in one image at one (ordering, point)."""
    network, inputs = seeded(chain, dtype=dtype), images(5, 6, dtype=dtype)
    sited = located(network, None, inputs)
    values = torch.zeros(20, dtype=dtype)
    with undisturbed(network):
        check = Verification(sited, values, ORDERINGS, ABLATED, pairs)
        seen = []
        for number, ordering in enumerate(ORDERINGS):
            reference = Reference(sited, values)
            reference.start(inputs)

            def stream(number=number, ordering=ordering, reference=reference):
                for point, logits in reference.cumulative(ordering, ABLATED.tolist()):
                    if (number, point) == at:
                        logits[3, 2] += error * max(1.0, float(logits.abs().max()))
                    yield point, logits

            seen += [(number, point) for point, _ in check.watch(stream(), inputs, number)]
    return seen


@pytest.mark.parametrize("pairs", [0, 3, 6, 1000])
def test_what_is_right_passes_and_all_is_passed_on(pairs: int) -> None:
    assert watched(pairs, 0.0) == [(ordering, point) for ordering in range(2) for point in range(3)]


@pytest.mark.parametrize(
    ("dtype", "rounding", "wrong"),
    [(torch.float64, 1e-10, 1e-8), (torch.float32, 1e-5, 1e-3), (torch.bfloat16, 1e-2, 1e-1)],
)
def test_more_than_rounding_explains(dtype: torch.dtype, rounding: float, wrong: float) -> None:
    watched(6, rounding, dtype)
    with pytest.raises(RuntimeError, match=r"ordering 1 with 5 units ablated differs .* by .*e-0"):
        watched(6, wrong, dtype)


@pytest.mark.parametrize("at", [(0, 0), (0, 2), (1, 0), (1, 2)])
def test_each_of_all_pairs_is_compared(at: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match=f"ordering {at[0]} with {ABLATED[at[1]]} units"):
        watched(6, 1.0, at=at)


def test_not_a_number_is_not_rounding() -> None:
    with pytest.raises(RuntimeError, match="nan"):
        watched(6, torch.nan)


def test_only_so_many_pairs_are_compared() -> None:
    network, inputs = seeded(chain), images(5, 6)
    sited = located(network, None, inputs)
    for pairs in (0, 1, 4, 6, 9):
        check = Verification(sited, torch.zeros(20).double(), ORDERINGS, ABLATED, pairs)
        assert len(check.pairs) == min(pairs, 6)
        assert check.pairs <= {(ordering, point) for ordering in range(2) for point in range(3)}


def test_a_curve_checks_itself_on_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast method that is wrong in the second batch alone."""
    network = seeded(chain)
    data = [(images(5, 6, seed=seed), torch.tensor([0, 1, 2, 3, 0])) for seed in range(2)]
    assert ablation_curve(network, data, method="prefix", verify=5).method == "prefix"
    cumulative = Prefix.cumulative

    def wrong(self, ordering, ablated):
        for point, logits in cumulative(self, ordering, ablated):
            second = (self.inputs[:, None] == data[1][0]).flatten(2).all(-1).any(-1)  # batches may come together
            yield point, logits + 1e-3 * second[:, None]

    monkeypatch.setattr(Prefix, "cumulative", wrong)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r'verification failed.*use method="reference"'):
        ablation_curve(network, data, method="prefix", verify=1)
    assert ablation_curve(network, data, method="prefix").method == "prefix"
    assert torch.equal(torch.get_rng_state(), before)


def test_rounding_is_measured_by_a_copy_in_float64() -> None:
    """A network that multiplies rounding errors by 1e4: float32 itself is far from float64."""

    def forward(self, x):
        x = self.act(self.layer(x))
        return self.head((x + 1e4) - 1e4)

    network = seeded(lambda: Function(forward, layer=nn.Linear(6, 20), act=nn.ReLU(), head=nn.Linear(20, 4)))
    inputs = images(5, 6).float()
    sited = located(network.float(), ["act"], inputs)
    values, ordering = torch.zeros(20), torch.arange(20)[None]
    with undisturbed(network):
        check = Verification(sited, values, ordering, torch.tensor([5]), 1)
        exact = sited.in_float64().clamped(inputs.double(), torch.arange(20) < 5, values.double())
        rounding = float((sited.clamped(inputs, torch.arange(20) < 5, values) - exact).abs().max() / exact.abs().max())
        assert 2e-4 < rounding < 1e-2
        list(check.watch(iter([(0, exact.float())]), inputs, 0))  # differs by more than 1e-4, and is right
        with pytest.raises(RuntimeError, match=r"rounding explains \de-0"):
            list(check.watch(iter([(0, (exact + 20 * rounding * exact.abs().max()).float())]), inputs, 0))
    assert next(network.parameters()).dtype == torch.float32
