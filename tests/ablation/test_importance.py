import pytest
import torch
from exactness import TARGETS, TWO_UNITS, batches, seeded, two_units
from torch import Tensor, nn

from single_directions.ablation import ablation_curve, unit_importance

EACH_METHOD = pytest.mark.parametrize("method", ["reference", "prefix", "incremental", "auto"])
DATA = batches((40, 40, 9))


def chain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 20, 3, padding=1), nn.ReLU(), nn.Conv2d(20, 18, 3), nn.BatchNorm2d(18), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(72, 4)),
    )


def network() -> nn.Module:
    """A chain whose answers depend on its images."""
    made = seeded(chain)
    made[0].weight.data *= 5
    made[-1].bias.data.zero_()
    return made


@EACH_METHOD
def test_hand_computed(method: str) -> None:
    network, data = two_units(), [(TWO_UNITS[:3], TARGETS[:3]), (TWO_UNITS[3:], TARGETS[3:])]
    # 3 of 4 are right; without unit 0 they are (0, 1), (0, 2), (0, 0), (0, 3), so 2; without unit 1 all say 0, so 3.
    assert unit_importance(network, data, method=method).tolist() == [0.25, 0.0]
    # Unit 0 held at 2.5: the first and third are right; unit 1 held at 2.5: the second and third.
    assert unit_importance(network, data, clamp=2.5, method=method).tolist() == [0.25, 0.25]
    # Unit 0 held at 1.5: all but the last; unit 1 held at 1.5: likewise.
    assert unit_importance(network, data, clamp=1.5, method=method).tolist() == [0.0, 0.0]
    # In the last image unit 1 is in the way.
    assert unit_importance(network, data[1:], method=method).tolist() == [0.0, -1.0]


@EACH_METHOD
@pytest.mark.parametrize("clamp", ["zero", "mean", -0.7])
@pytest.mark.parametrize("top_k", [1, 3])
def test_it_is_the_first_step_of_an_ordering_that_begins_with_the_unit(method: str, clamp, top_k: int) -> None:
    measured = network()
    importance = unit_importance(measured, DATA, clamp=clamp, top_k=top_k, method=method)
    assert importance.shape == (38,)
    assert importance.dtype == torch.float64
    curve = ablation_curve(measured, DATA, clamp=clamp, top_k=top_k, points=[0, 1], orderings=25, method="reference")
    lost = curve.accuracy[:, 0] - curve.accuracy[:, 1]
    torch.testing.assert_close(importance[curve.orderings[:, 0]], lost, rtol=0, atol=1e-12)
    assert importance.unique().numel() > 2


@EACH_METHOD
def test_units_run_through_the_sites_as_they_were_named(method: str) -> None:
    measured = network()
    both = unit_importance(measured, DATA, sites=["4", "1"], method=method)
    assert torch.equal(both[:18], unit_importance(measured, DATA, sites=["4"], method="reference"))
    assert torch.equal(both[18:], unit_importance(measured, DATA, sites=["1"], method="reference"))


@EACH_METHOD
def test_dead_units_have_none(method: str) -> None:
    measured = network()
    measured[0].weight.data[::2] = 0
    measured[0].bias.data[::2] = -1
    importance = unit_importance(measured, DATA, sites=["1"], method=method)
    assert importance[::2].tolist() == [0.0] * 10
    assert importance[1::2].abs().max() > 0


@EACH_METHOD
@pytest.mark.filterwarnings("ignore:sites? .* changes no output")
def test_a_site_that_the_output_does_not_depend_on_has_none(method: str) -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.aside = chain(), nn.Conv2d(2, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return self.inner(x)

    network = seeded(Aside)
    importance = unit_importance(network, DATA, sites=["aside", "inner.1"], method=method)
    assert importance[:5].tolist() == [0.0] * 5
    assert torch.equal(importance[5:], unit_importance(network, DATA, sites=["inner.1"], method="reference"))


def test_portions_do_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    measured = network()
    expected = unit_importance(measured, DATA, method="reference")
    for sizes in ((89,), (1,) * 9 + (80,), (88, 1)):
        for budget in (1, 50_000, 2**30):
            for method in ("prefix", "incremental"):
                found = unit_importance(measured, batches(sizes), method=method, memory_budget=budget)
                assert torch.equal(found, expected)
    assert capsys.readouterr().err == ""
    unit_importance(measured, DATA, progress=True)
    assert "ablation" in capsys.readouterr().err
