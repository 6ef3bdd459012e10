"""Units of recurrent layers are clamped at each time step, within the recurrence."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from exactness import Function, images, located, seeded
from torch import Tensor, nn

from single_directions import BadInput, Site, ablation_auc, ablation_curve, resolve_sites, unit_importance
from single_directions.ablation.sites import SitedNetwork, undisturbed

Mask = dict[str, Tensor]


class Recurrent(nn.Module):
    """A recurrent layer between two others."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rnn = nn.RNN(4, 5, **options)
        directions = 1 + self.rnn.bidirectional
        self.head, self.tail = nn.Linear(5 * directions, 3), nn.Linear(5 * directions * self.rnn.num_layers, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        outputs, last = self.rnn(x if self.rnn.batch_first else x.transpose(0, 1))
        outputs = outputs if self.rnn.batch_first else outputs.transpose(0, 1)
        return self.head(outputs.mean(1)) + self.tail(last.transpose(0, 1).flatten(1))


def by_hand(network: Recurrent, inputs: Tensor, clamped: Mask, value: float) -> Tensor:
    """The logits, image by image and step by step, with a mask (images, units) for each hidden state."""
    rnn, function = network.rnn, {"relu": torch.relu, "tanh": torch.tanh}[network.rnn.nonlinearity]
    answers = []
    for number, image in enumerate(inputs):
        steps = list(torch.where(clamped["relu"][number], value, torch.relu(network.first(image))))
        lasts = []
        for layer in range(rnn.num_layers):
            directions = []
            for suffix in (f"l{layer}", f"l{layer}_reverse")[: 1 + rnn.bidirectional]:
                w, u = getattr(rnn, f"weight_ih_{suffix}"), getattr(rnn, f"weight_hh_{suffix}")
                bias = getattr(rnn, f"bias_ih_{suffix}") + getattr(rnn, f"bias_hh_{suffix}") if rnn.bias else 0
                hidden, found = torch.zeros(5).double(), []
                for step in steps[::-1] if suffix.endswith("reverse") else steps:
                    hidden = function(w @ step + u @ hidden + bias)
                    hidden = torch.where(clamped[f"rnn.{rnn.nonlinearity}_{suffix}"][number], value, hidden)
                    found.append(hidden)
                directions.append(found[::-1] if suffix.endswith("reverse") else found)
                lasts.append(hidden)
            steps = [torch.cat(parts) for parts in zip(*directions, strict=True)]
        answers.append(network.head(torch.stack(steps).mean(0)) + network.tail(torch.cat(lasts)))
    return torch.stack(answers)


def masks_of(sited: SitedNetwork, mask: Tensor) -> Mask:
    return {site.name: part for site, part in zip(sited.sites, sited.split(mask), strict=True)}


@pytest.mark.parametrize("value", [0.0, 0.75])
@pytest.mark.parametrize(
    "options",
    [
        {"nonlinearity": "relu", "batch_first": True},
        {"nonlinearity": "relu", "num_layers": 2, "bidirectional": True, "dropout": 0.5},
        {"nonlinearity": "tanh", "num_layers": 2, "bias": False, "batch_first": True},
    ],
)
def test_hidden_states_are_clamped_at_each_step(options: dict[str, Any], value: float) -> None:
    network, inputs = seeded(lambda: Recurrent(**options)), images(6, 7, 3)
    sited = located(network, None, inputs)
    kind, layers = options["nonlinearity"], options.get("num_layers", 1)
    ways = ("", "_reverse") if options.get("bidirectional") else ("",)
    names = [f"rnn.{kind}_l{layer}{way}" for layer in range(layers) for way in ways]
    assert sited.sites == (Site("relu", 4, 2), *(Site(name, 5) for name in names))
    values = torch.full((sited.units,), value).double()
    none = torch.zeros(sited.units, dtype=torch.bool)
    with undisturbed(network):
        torch.testing.assert_close(sited.clamped(inputs, none, values), network(inputs), rtol=1e-12, atol=1e-12)
        for shape in ((), (6,)):  # one mask for all images, and one for each
            mask = torch.rand(*shape, sited.units, generator=torch.Generator().manual_seed(1)) < 0.4
            expected = by_hand(network, inputs, masks_of(sited, mask.expand(6, -1)), value)
            assert not torch.allclose(expected, network(inputs), rtol=1e-2)
            torch.testing.assert_close(sited.clamped(inputs, mask, values), expected, rtol=1e-12, atol=1e-12)


def test_a_cell_is_one_site_at_all_of_its_steps() -> None:
    def forward(self: Any, x: Tensor, clamped: Tensor | None = None) -> Tensor:
        hidden = x.new_zeros(len(x), 5)
        for step in range(4):
            hidden = self.cell(x[:, step], hidden)
            if clamped is not None:
                hidden = hidden * ~clamped
        return self.head(hidden)

    network = seeded(lambda: Function(forward, cell=nn.RNNCell(3, 5, nonlinearity="relu"), head=nn.Linear(5, 3)))
    inputs = images(6, 4, 3)
    sited = located(network, None, inputs)
    assert sited.sites == (Site("cell.relu", 5),)
    with undisturbed(network):
        for mask in (torch.tensor([True, False, True, False, False]), images(6, 5) > 0.3):
            found = sited.clamped(inputs, mask, torch.zeros(5).double())
            torch.testing.assert_close(found, forward(network, inputs, mask), rtol=1e-12, atol=1e-12)


def test_curve_mean_and_estimate() -> None:
    network = seeded(lambda: Recurrent(nonlinearity="relu", batch_first=True))
    batch = images(60, 7, 3), torch.arange(60) % 3
    curve = ablation_curve(network, [batch], orderings=40, points=4, clamp="mean", verify=3)
    assert (curve.units, curve.method) == (9, "reference")
    assert "'rnn.relu_l0', which lies within one" in curve.why
    estimate = ablation_auc(network, [batch], masks=6000, points=4)
    whole = ablation_curve(network, [batch], orderings=200, points=4)
    assert abs(estimate.auc - float(whole.auc.mean())) < 4 * estimate.auc_se + 0.01


def test_a_mean_is_that_of_all_images_and_steps() -> None:
    network = seeded(lambda: Recurrent(nonlinearity="relu", batch_first=True))
    inputs = images(8, 7, 3)
    with torch.no_grad():
        states = network.rnn(torch.relu(network.first(inputs)))[0]
        means = states.mean((0, 1))
        sited = located(network, ["rnn.relu_l0"], inputs)
        everything = torch.ones(5, dtype=torch.bool)
        logits = network.head(means) + network.tail(means)
    curve = ablation_curve(network, [(inputs, torch.zeros(8).long())], ["rnn.relu_l0"], 1, [0, 5], clamp="mean")
    with undisturbed(network):
        torch.testing.assert_close(sited.clamped(inputs, everything, means), logits.expand(8, -1))
    assert curve.accuracy[0, -1] == float(logits.argmax() == 0)


def test_hidden_states_that_are_the_logits_are_no_default_site() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.rnn(torch.relu(self.first(x)))[0][:, -1]

    rnn = nn.RNN(4, 5, num_layers=2, nonlinearity="relu", batch_first=True)
    network = seeded(lambda: Function(forward, first=nn.Linear(3, 4), rnn=rnn))
    with pytest.warns(UserWarning, match="no default site: rnn.relu_l1, because no layer follows"):
        found = resolve_sites(network, None, images(6, 7, 3))
    assert [site.name for site in found] == ["relu", "rnn.relu_l0"]


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_what_is_not_unrolled_is_told_of(layer: Callable[..., nn.Module]) -> None:
    """The gated layers, whose states are no activations, and packed sequences."""

    def forward(self: Any, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        if layer is nn.RNN:
            lengths = torch.full((len(x),), x.shape[1])
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.head(self.rnn(packed)[1][0])
        return self.head(self.rnn(x)[0][:, -1])

    network = seeded(
        lambda: Function(forward, first=nn.Linear(3, 4), rnn=layer(4, 5, batch_first=True), head=nn.Linear(5, 3))
    )
    with pytest.warns(UserWarning, match=re.escape("no default site: the units inside rnn")):
        assert [site.name for site in resolve_sites(network, None, images(6, 7, 3))] == ["relu"]


class Looped(nn.Module):
    """A recurrence written as a loop. A value above 100 makes it call one more activation function."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.again, self.act = nn.Linear(2, 5), nn.Linear(5, 5), nn.ReLU()
        self.more, self.head = nn.GELU(), nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(len(x), 5)
        for step in x.unbind(1):
            hidden = self.act(self.layer(step) + self.again(hidden))
        if x.max() > 100:
            hidden = self.more(self.again(hidden))
        return self.head(hidden)


def of_steps(*steps: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.rand(8, number, 2), torch.arange(8) % 3) for number in steps]


@pytest.mark.parametrize("measure", [ablation_auc, ablation_curve, unit_importance])
def test_steps_that_the_first_batch_does_not_have_are_refused(measure) -> None:
    network, batches = Looped(), of_steps(2, 3)
    message = r"batches: .* \(2, 2\), not \(3, 2\): it calls act more often .* put the longest batch first"
    with pytest.raises(BadInput, match=message):
        measure(network, batches)
    measure(network, batches[::-1])
    with pytest.warns(UserWarning, match=r"calls act more often .*\(batch 1\); only the 8 images before it"):
        measure(network, iter(batches))


def test_with_the_longest_batch_first_all_steps_are_clamped() -> None:
    """By hand: the head has no bias, so with all states at zero all images are of class 0."""
    batches = of_steps(4, 2)
    curve = ablation_curve(Looped(), batches, orderings=1)
    expected = float((torch.cat([targets for _, targets in batches]) == 0).double().mean())
    assert len(curve.sites) == 4
    assert float(curve.accuracy[0, -1]) == expected


@pytest.mark.parametrize("measure", [ablation_auc, ablation_curve, unit_importance])
def test_an_activation_function_that_only_later_images_call_is_told_of_once(measure) -> None:
    batches = of_steps(2, 2, 2)
    for later, _ in batches[1:]:
        later[0, 0] = 101
    with pytest.warns(UserWarning, match="it calls more more often than for the first images") as told:
        measure(Looped(), batches)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(Looped(), batches, sites=["act", "act_1"])


class ByLength(nn.Module):
    """It computes a bias for each length once, and a product more often for longer inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.head, self.known = nn.Sequential(nn.Linear(1, 2), nn.ReLU()), nn.Linear(2, 3), {}

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if length not in self.known:
            self.known[length] = self.bias(torch.ones(length, 1))
        hidden = x + self.known[length]
        hidden *= torch.sigmoid(hidden)
        while len(hidden[0]) > 1:
            hidden = hidden[:, : len(hidden[0]) // 2].clone()
            hidden *= 1.5
        return self.head(hidden[:, 0])


def test_what_is_computed_once_for_a_length_and_products_are_no_further_calls() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = ablation_curve(ByLength(), of_steps(2, 4), orderings=1, unit_dim=2)
    assert len(curve.sites) == 1


def test_a_function_in_place_takes_keywords() -> None:
    class Keyword(Looped):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid_(input=super().forward(x))

    with pytest.warns(UserWarning, match="acts on the logits"):
        ablation_curve(Keyword(), of_steps(2), orderings=1)
