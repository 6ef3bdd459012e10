"""`RepeatedEstimate` answers as a fresh `ablation_auc` does, whatever has changed since its last call."""

import pytest
import torch
from torch import Tensor, nn

from single_directions import BadInput, ablation_auc, ablation_curve
from single_directions.ablation.estimate import RepeatedEstimate


class TwoHeads(nn.Module):
    """Gives logits of which one, `aux`, does not lead to those measured; `skip` changes as a schedule would."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(4, 8), nn.Linear(8, 3), nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.skip = False

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = self.body(inputs).relu()
        logits = self.head(hidden)
        return {"logits": logits + 3 * inputs[:, :3] if self.skip else logits, "aux": self.aux(hidden)}


@pytest.mark.filterwarnings("ignore:.*aux.*")
def test_sites_that_do_not_lead_to_the_logits_are_left_alone() -> None:
    network, batches = TwoHeads(), [(torch.randn(200, 4), torch.randint(3, (200,)))]
    estimate = ablation_auc(network, batches, masks=20_000, output="logits")
    curve = ablation_curve(network, batches, orderings=300, points="all", output="logits")
    assert estimate.accuracy == pytest.approx(float(curve.accuracy[0, 0]))
    assert estimate.auc == pytest.approx(float(curve.auc.mean()), abs=5 * estimate.auc_se)


@pytest.mark.filterwarnings("ignore:.*aux.*")
@pytest.mark.parametrize("own_forward", [False, True])
def test_what_the_network_reads_of_itself_is_that_of_each_call(own_forward: bool) -> None:
    network, batches = TwoHeads(), [(torch.randn(200, 4), torch.randint(3, (200,)))]
    repeated = RepeatedEstimate(network, batches, masks=2000, output="logits")
    repeated()
    if own_forward:
        network.forward = lambda inputs: {"logits": network.head(inputs.repeat(1, 2).relu())}  # type: ignore[method-assign]
    else:
        network.skip = True
    fresh = ablation_auc(network, batches, masks=2000, output="logits")
    assert (repeated().accuracy, repeated().auc) == (fresh.accuracy, fresh.auc)


@pytest.mark.parametrize("hidden_by", [-1e9, 1e4])
def test_a_change_beside_huge_logits_is_seen(hidden_by: float) -> None:
    """A class that is masked out, or an offset of all, must not hide what changes among the others."""

    class Scheduled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
            self.state = {"sign": 1.0}

        def forward(self, inputs: Tensor) -> Tensor:
            logits = self.layers(inputs) * self.state["sign"]
            other = logits.new_full((len(logits), 1), hidden_by)
            return torch.cat([logits, other], 1) if hidden_by < 0 else logits + other

    network, batches = Scheduled(), [(torch.randn(200, 4), torch.randint(3, (200,)))]
    repeated = RepeatedEstimate(network, batches, masks=2000)
    repeated()
    network.state["sign"] = -1.0
    fresh = ablation_auc(network, batches, masks=2000)
    assert repeated().auc == fresh.auc


def test_batches_are_read_at_each_call() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    first, second = ({"x": torch.randn(300, 4), "y": torch.randint(3, (300,))} for _ in range(2))
    batches, settings = [first], {"masks": 500, "batch_to_xy": lambda batch: (batch["x"], batch["y"])}
    repeated = RepeatedEstimate(network, batches, **settings)
    repeated()
    batches[0] = second
    assert repeated().accuracy == ablation_auc(network, [second], **settings).accuracy
    batches.append(first)
    assert repeated().accuracy == ablation_auc(network, batches, **settings).accuracy
    with pytest.raises(BadInput, match="not an iterator"):
        RepeatedEstimate(network, iter(batches), **settings)


def test_changes_are_of_the_same_points_and_clamp() -> None:
    network = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3))
    batches = [(torch.randn(100, 4), torch.randint(3, (100,)))]
    one = ablation_auc(network, batches, masks=500, points=[0, 3, 12])
    for other in ({"points": [0, 9, 12]}, {"points": [0, 3, 12], "clamp": 1.0}):
        with pytest.raises(BadInput, match="change_from"):
            one.change_from(ablation_auc(network, batches, masks=500, **other))
