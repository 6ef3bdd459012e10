"""On CUDA nothing waits for the device at each point: the number of waits does not depend on the number of points."""

from collections import Counter

import pytest
import torch
from pretended_cuda import waits
from torch import nn

from single_directions import ablation_curve, unit_importance
from single_directions.ablation import accuracy, places, sites
from single_directions.networks import MLP

CLASSES = 10


class Residual(nn.Module):
    """An addition that reads a site beside the layer that does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU())
        self.branch = nn.Conv2d(40, 40, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(40, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(self.relu(x + self.branch(x)).mean((2, 3)))


def chain(width: int = 40) -> nn.Module:
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, width, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width, CLASSES))


NETWORKS = {"mlp": lambda: MLP((1, 8, 8), CLASSES, hidden=(40, 40)), "chain": chain, "residual": Residual}


def images() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.rand(20, 1, 8, 8), torch.arange(20) % CLASSES)] * 2


@pytest.fixture(autouse=True)
def _judged_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "_LOGITS_AT_ONCE", 1)  # as where there are many images or classes
    monkeypatch.setattr(sites, "warn_of_idle_sites", lambda *_: None)  # what is pretended has no gradients
    monkeypatch.setattr(places, "_subclass", lambda _: "")  # and is no plain tensor


@pytest.mark.parametrize("clamp", ["zero", "mean", 0.5])
@pytest.mark.parametrize("method", ["incremental", "prefix", "reference"])
@pytest.mark.parametrize("network", NETWORKS)
def test_points_of_a_curve_are_not_waited_for(
    network: str, method: str, clamp: str | float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_points(points: int) -> Counter[str]:
        def measure(device: str) -> None:
            torch.manual_seed(0)
            curve = ablation_curve(
                NETWORKS[network]().to(device), images(), orderings=2, points=points, clamp=clamp, method=method
            )
            assert curve.method == method

        return waits(measure, monkeypatch)

    assert of_points(3) == of_points(41)


@pytest.mark.parametrize("method", ["incremental", "prefix", "reference"])
def test_units_alone_are_not_waited_for(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_width(width: int) -> Counter[str]:
        def measure(device: str) -> None:
            torch.manual_seed(0)
            unit_importance(chain(width).to(device), images(), method=method)

        return waits(measure, monkeypatch)

    assert of_width(3) == of_width(30)


def test_each_kind_of_wait_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(device: str) -> None:
        x = torch.ones(3).to(device)
        int(x.max()), bool(x.isfinite().all()), torch.equal(x, x)
        x[[0, 1]]
        torch.ops.aten.index(x, [torch.tensor([0, 1])])
        (x + 1).cpu()

    assert waits(measure, monkeypatch) == {
        **{"read": 3, "copy to the device": 2, "copy to the host": 1, "hidden copy": 1}
    }
