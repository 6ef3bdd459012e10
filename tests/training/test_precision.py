"""Whatever trains under a precision of Lightning's is measured under it."""

import pytest
import torch
from own_training import Augmented, Own, fit
from torch import nn
from torch.nn.functional import relu
from torch.utils.data import DataLoader, TensorDataset

from single_directions import AblationAUC, BadInput, ablation_auc

DTYPES = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}
PLAIN = DataLoader(Augmented(noise=0), 16)


def module(kind):
    torch.manual_seed(0)
    return kind()


class Stateful(Own):
    """Its forward makes a tensor, which is of the default dtype."""

    def forward(self, images):
        state = torch.zeros(len(images), 12)
        state = state + relu(self.norm(self.first(images.flatten(1))))
        return self.head(torch.cat([state[:, :6], state[:, 6:]], 1))


class Recurrent(Own):
    """Its state is made in forward too; a cell takes no other dtype than that of its weights."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 12)

    def forward(self, images):
        state = torch.zeros(len(images), 12)
        for row in images.flatten(1).unflatten(1, (8, 8)).unbind(1):
            state = self.cell(row, state)
        return self.head(relu(state))


class Casting(Own):
    """It casts by hand, as a layer under autocast allows."""

    def forward(self, images):
        return self.head(relu(self.first(images.flatten(1))).to(torch.bfloat16))


class Tokens(Own):
    """Its inputs are whole numbers, so the values that units are clamped to are of the default dtype."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 64)

    def forward(self, tokens):
        return self.head(relu(self.first(self.embed(tokens).mean(1))))


@pytest.mark.filterwarnings("ignore:no default site. the units inside cell")
@pytest.mark.parametrize("kind", [Stateful, Recurrent])
@pytest.mark.parametrize("precision", DTYPES)
def test_a_forward_that_makes_tensors_is_measured_in_the_precision_of_the_training(kind, precision):
    plain, watched, measured = module(kind), module(kind), AblationAUC()
    fit(plain, [], epochs=2, train=PLAIN, precision=precision)
    fit(watched, [measured], epochs=2, train=PLAIN, precision=precision)
    assert list(measured.values) == [0, 1]
    assert watched.head.weight.dtype == DTYPES[precision]
    assert torch.get_default_dtype() == torch.float32
    assert all(value.equal(watched.state_dict()[name]) for name, value in plain.state_dict().items())


def test_the_masks_are_the_same_in_every_precision():
    points = {}
    for precision in ("32-true", "64-true"):
        measured = AblationAUC()
        # In the first epoch nothing is learned, so that the weights are the same but for rounding.
        fit(module(Own), [measured], epochs=1, train=PLAIN, precision=precision, limit_train_batches=1)
        points[precision] = measured.latest
    one, other = points.values()
    assert one.points.equal(other.points)
    assert (one.right == other.right).double().mean() > 0.999


def test_a_forward_that_needs_autocast_is_measured_under_it():
    plain, watched, measured = module(Casting), module(Casting), AblationAUC()
    fit(plain, [], epochs=2, train=PLAIN, precision="bf16-mixed")
    fit(watched, [measured], epochs=2, train=PLAIN, precision="bf16-mixed")
    assert list(measured.values) == [0, 1]
    assert all(value.equal(watched.state_dict()[name]) for name, value in plain.state_dict().items())
    images = [(PLAIN.dataset.inputs.float(), PLAIN.dataset.labels)]
    with torch.autocast("cpu", torch.bfloat16):
        again = ablation_auc(watched, images, masks=2000, method="reference")
        right = watched.eval()(images[0][0]).argmax(1) == images[0][1]
    assert measured.latest.accuracy == pytest.approx(right.double().mean().item(), abs=0.02)
    assert abs(measured.latest.auc - again.auc) < 4 * (measured.latest.auc_se**2 + again.auc_se**2) ** 0.5


@pytest.mark.parametrize("kind", [Own, Stateful])
def test_a_forward_that_does_without_autocast_is_measured_in_float32(kind):
    seen = []

    class Seen(kind):
        def forward(self, images):
            logits = super().forward(images)
            if not self.training:
                seen.extend([logits.dtype] * isinstance(logits, torch.Tensor))  # it is traced too
            return logits

    fit(module(Seen), [AblationAUC()], epochs=1, train=PLAIN, precision="bf16-mixed")
    assert set(seen) == {torch.float32}


def test_a_forward_that_fails_under_autocast_too_is_told_as_it_fails_without():
    class Fails(Own):
        def forward(self, images):
            if not self.training:
                raise RuntimeError("no evaluation")
            return super().forward(images)

    with pytest.raises(BadInput, match="no evaluation"):
        fit(module(Fails), [AblationAUC()], epochs=1, train=PLAIN, precision="bf16-mixed")


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_whole_numbers_as_inputs(precision):
    measured = AblationAUC(clamp=0.5)
    tokens = TensorDataset(torch.randint(20, (96, 5)), torch.arange(96) % 10)
    fit(module(Tokens), [measured], epochs=1, train=DataLoader(tokens, 16), precision=precision)
    assert measured.values[0]["auc"] > 0
