"""What the callback ablates in common networks."""

import warnings

import pytest
import torch
from own_training import IMAGES, Augmented, Own, fit
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu
from torch.utils.data import DataLoader

from single_directions import AblationAUC, BadInput
from single_directions.ablation import Site

FEW = {"samples": 40}
pytestmark = pytest.mark.filterwarnings("ignore:AblationAUC. the training images are augmented at random")


class Tokens(Own):
    """Digits as 8 tokens of 8 pixels, and no ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(8, 12), nn.Linear(12, 16), nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(gelu(self.mix(self.embed(images.flatten(1).view(-1, 8, 8)))).mean(1))


def test_a_token_model_is_ablated_by_channel_or_as_asked() -> None:
    torch.manual_seed(0)
    channels, tokens = AblationAUC(**FEW), AblationAUC(**FEW, unit_dim=1, name="tokens")
    fit(Tokens(), [channels, tokens], epochs=1)
    assert channels.latest is not None
    assert tokens.latest is not None
    assert channels.latest.sites == (Site("gelu", 16, 2),)
    assert tokens.latest.sites == (Site("gelu", 8, 1),)
    with pytest.raises(BadInput, match="unit_dim=3"):
        fit(Tokens(), [AblationAUC(**FEW, unit_dim=3)], epochs=1)


class Lazy(Own):
    """Layers that take their width from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LazyLinear(12), nn.LazyLinear(12)


@pytest.mark.filterwarnings("ignore:A layer with UninitializedParameter")  # Lightning's own, about its summary
def test_lazy_layers_are_initialized_as_without_the_callback() -> None:
    def trained(*callbacks: AblationAUC) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        module = Lazy()
        fit(module, callbacks, epochs=2)
        return module.state_dict()

    callback = AblationAUC(**FEW)
    plain, measured = trained(), trained(callback)
    assert all(torch.equal(plain[name], measured[name]) for name in plain)
    assert sorted(callback.curves) == [0, 1]


class Binary(Own):
    """One logit: is the digit odd?"""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 1)

    def training_step(self, batch, batch_index: int) -> torch.Tensor:
        return binary_cross_entropy_with_logits(self(batch[0])[:, 0], batch[1].float())


def test_a_network_of_one_logit() -> None:
    torch.manual_seed(0)
    data = Augmented()
    data.labels = data.labels % 2
    callback = AblationAUC(**FEW)
    fit(Binary(), [callback], epochs=1, train=DataLoader(data, batch_size=IMAGES))
    assert 0.2 < callback.values[0]["accuracy"] < 1


class Dead(Own):
    """A site whose units are dead, an activation on the logits, and a `forward` that cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.second.bias, -1e6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return gelu(super().forward(images)) if len(images) else images


def test_what_is_warned_of_a_network_is_told_once() -> None:
    callback = AblationAUC(**FEW)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(Dead(), [callback], epochs=3)
    told = [str(warning.message).split(":")[0] for warning in caught if "site" in str(warning.message)]
    assert told == ["no default site", "site 'relu_1'"]
    assert callback.latest is not None
    assert callback.latest.method == "reference"
