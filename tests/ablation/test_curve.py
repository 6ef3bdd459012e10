import copy
import io
import logging
import re
from typing import Any

import pandas as pd
import pytest
import torch
import torchvision
from exactness import TARGETS, TWO_UNITS, Function, Untraceable, batches, images, seeded, state, two_units
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from single_directions.ablation import (
    AblationCurve,
    Site,
    ablation_auc,
    ablation_curve,
    measurement,
    resolve_sites,
    unit_importance,
)
from single_directions.ablation.estimate import RepeatedEstimate
from single_directions.ablation.incremental import Incremental
from single_directions.ablation.verification import Verification
from single_directions.errors import BadInput

METHODS = ("reference", "prefix", "incremental", "auto")
EACH_METHOD = pytest.mark.parametrize("method", METHODS)
FAST = pytest.mark.parametrize("method", ["prefix", "incremental"])


def chain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 20, 3, padding=1), nn.BatchNorm2d(20), nn.ReLU(inplace=True), nn.Dropout2d()),
        *(nn.Conv2d(20, 18, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 4)),
    )


def wide() -> nn.Module:
    """So wide that it pays to update its layers."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(32, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 4)),
    )


@pytest.mark.parametrize("method", ["auto", "reference"])
def test_compiled_network_is_measured_as_it_was_written(method: str) -> None:
    network, batches = seeded(chain), [(images(6, 2, 4, 4), torch.arange(6) % 4)]
    compiled = torch.compile(network.train(), backend="eager")
    found, plain = (ablation_curve(net, batches, method=method) for net in (compiled, network))
    assert found.accuracy.equal(plain.accuracy)
    assert (found.sites, found.method, found.why) == (plain.sites, plain.method, plain.why)
    assert unit_importance(compiled, batches).equal(unit_importance(network, batches))
    assert resolve_sites(compiled, ["2"], batches[0][0]) == (Site("2", 20),)
    assert network.training


def refused(graph: Any, inputs: Any) -> Any:
    """A backend of `torch.compile` that must not be asked."""
    raise AssertionError("compiled while it was measured")


class WithFunction(nn.Module):
    """A part of its `forward` is a compiled function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)
        self.activation = torch.compile(nn.functional.relu, backend=refused)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.activation(self.first(inputs)))


class OfClass(WithFunction):
    """Its class's `forward` is compiled."""

    forward = torch.compile(lambda self, inputs: self.last(torch.relu(self.first(inputs))), backend=refused)


class OfInstance(WithFunction):
    """Its own `forward` is compiled, as Lightning does with a compiled LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.forward = torch.compile(lambda inputs: self.last(torch.relu(self.first(inputs))), backend=refused)


class InPlace(WithFunction):
    """It is compiled by its own method."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = torch.relu
        self.compile(backend=refused)


@pytest.mark.parametrize("kind", [WithFunction, OfClass, OfInstance, InPlace])
def test_whatever_is_compiled_runs_as_it_was_written(kind: type[WithFunction]) -> None:
    network, batches = seeded(kind), [(images(40, 6), torch.arange(40) % 3)]
    plain = nn.Sequential(network.first, nn.ReLU(), network.last)
    found, wanted = (ablation_auc(net, batches, masks=400) for net in (network, plain))
    assert found.auc == pytest.approx(wanted.auc)
    assert found.method == wanted.method == "prefix"
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed), torch.no_grad():
        network(batches[0][0])


def untraceable() -> nn.Module:
    return Untraceable(seeded(chain))


def mixing() -> nn.Module:
    """What it answers for an image depends on the others in the batch."""
    return Function(lambda self, x: self.inner(x - x.mean(0, keepdim=True)), inner=seeded(chain))


@EACH_METHOD
def test_a_hand_computed_curve(method: str) -> None:
    curve = ablation_curve(two_units(), [(TWO_UNITS[:3], TARGETS[:3]), (TWO_UNITS[3:], TARGETS[3:])], method=method)
    assert curve.sites == (Site("1", 2),)
    assert curve.units_ablated.tolist() == [0, 1, 2]
    assert (curve.units, curve.images, curve.clamp, curve.top_k) == (2, 4, "zero", 1)
    first = curve.orderings[:, 0].tolist()
    assert set(first) == {0, 1}
    # Both gone is a tie of all classes, which class 0 wins: 3 of 4 targets.
    assert curve.accuracy.tolist() == [[0.75, 0.5, 0.75] if unit == 0 else [0.75, 0.75, 0.75] for unit in first]
    assert curve.auc.tolist() == [0.625 if unit == 0 else 0.75 for unit in first]
    assert curve.auc_normalized.tolist() == [0.625 / 0.75 if unit == 0 else 1 for unit in first]
    assert curve.fraction_ablated.tolist() == [0, 0.5, 1]
    assert curve.accuracy.dtype == curve.auc.dtype == torch.float64


@EACH_METHOD
def test_a_hand_computed_clamp_to_a_constant_and_to_the_mean(method: str) -> None:
    data = [(TWO_UNITS[:1], TARGETS[:1]), (TWO_UNITS[1:], TARGETS[1:])]
    # 1.5 for unit 0: (1.5, 1) right, (1.5, 2) right, (1.5, 0) right, (1.5, 3) wrong.
    # 1.5 for unit 1: (2, 1.5) right, (1, 1.5) right, (3, 1.5) right, (1, 1.5) wrong; both: a tie.
    # Means over 4 images, not over 2 batches: 1.75 and 1.5; both: class 0.
    for clamp in (1.5, "mean"):
        curve = ablation_curve(two_units(), data, clamp=clamp, method=method)
        assert set(curve.orderings[:, 0].tolist()) == {0, 1}
        assert curve.accuracy.tolist() == [[0.75, 0.75, 0.75]] * 10


def test_means_by_hand() -> None:
    """They are over images, in uneven batches, and over positions."""
    inputs = torch.tensor([[[0.0, 6.0], [0.5, 0.5]], [[3.0, -9.0], [1.0, 0.0]], [[1.0, 2.0], [0.5, 0.5]]]).double()
    network = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Flatten()).double()
    data = [(inputs[:1], torch.tensor([1])), (inputs[1:], torch.tensor([1, 1]))]
    with measurement.measurement(network, data, ["1"], "mean", 1, "auto", 1000) as measured:
        assert measured.values.tolist() == [2.0, 0.5]


@EACH_METHOD
@pytest.mark.parametrize("top_k", [1, 2])
def test_both_ends(method: str, top_k: int) -> None:
    """With nothing clamped the plain accuracy, with everything the frequency of the constant output's classes."""
    network, data = seeded(chain), batches((30, 20, 7))
    network.train()
    accuracy = ablation_curve(network, data, top_k=top_k, method=method, orderings=3).accuracy
    inputs, targets = (torch.cat(part) for part in zip(*data, strict=True))
    with torch.no_grad():
        best = network.eval()(inputs).topk(top_k).indices
    assert accuracy[:, 0].tolist() == [float((best == targets[:, None]).any(1).double().mean())] * 3
    constant = network[-1].bias.topk(top_k).indices
    assert accuracy[:, -1].tolist() == [float(torch.isin(targets, constant).double().mean())] * 3


@EACH_METHOD
def test_with_everything_clamped_equal_outputs_are_the_lowest_classes(method: str) -> None:
    network, data = seeded(chain), batches()
    network[-1].bias.data.zero_()
    targets = torch.cat([targets for _, targets in data])
    for top_k in (1, 2, 3):
        accuracy = ablation_curve(network, data, top_k=top_k, method=method, points=2).accuracy
        assert accuracy[:, -1].tolist() == [float((targets < top_k).double().mean())] * 10
    with pytest.raises(BadInput, match="top_k=4: must be below the number of classes, 4"):
        ablation_curve(network, data, top_k=4, method=method)


def test_clamps_far_beyond_activations_are_not_left_to_a_sum_with_its_opposite() -> None:
    network, data = seeded(wide), [(images(200, 2, 4, 4), torch.arange(200) % 4)]
    curve = ablation_curve(network, data, clamp=1e6, points=5, verify=50)
    assert (curve.method, ablation_curve(network, data, clamp=1.0).method) == ("prefix", "incremental")


def test_a_mean_that_is_not_finite_is_refused() -> None:
    network, data = seeded(chain), batches()
    data[-1][0][-1] = torch.nan
    with pytest.raises(BadInput, match="mean of some unit is not finite"):
        ablation_curve(network, data, clamp="mean")


def test_batches_without_images() -> None:
    (inputs, targets), *_ = batches()
    empty = (inputs[:0], targets[:0])
    with pytest.raises(BadInput, match="the first holds no image"):
        ablation_curve(seeded(chain), [empty, (inputs, targets)])
    curve = ablation_curve(seeded(chain), [(inputs, targets), empty], orderings=2)
    assert torch.equal(curve.accuracy, ablation_curve(seeded(chain), [(inputs, targets)], orderings=2).accuracy)


def never(*_: Any) -> None:
    raise AssertionError("something was measured")


@pytest.mark.parametrize(
    "in_memory", [list, lambda data: DataLoader(TensorDataset(*map(torch.cat, zip(*data, strict=True))), 7)]
)
def test_targets_in_memory_are_looked_at_first(in_memory, monkeypatch: pytest.MonkeyPatch) -> None:
    data = batches((7, 7, 7))
    data[2][1][3] = 4
    monkeypatch.setattr(Incremental, "cumulative", never)
    with pytest.raises(BadInput, match=r"targets from . to 4, but the network's classes are 0 to 3"):
        ablation_curve(seeded(chain), in_memory(data))


def test_shapes_in_memory_are_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Incremental, "cumulative", never)
    data = [*batches((3,)), (images(4, 2, 6, 5), torch.tensor([0, 1, 2, 3]))]
    with pytest.raises(BadInput, match=r"shapes \(2, 4, 4\) and \(2, 6, 5\).*prefix"):
        ablation_curve(seeded(pooled), data, method="incremental")


@pytest.mark.parametrize("measure", [ablation_curve, unit_importance])
def test_a_stream_that_breaks_off_loses_nothing(measure) -> None:
    data = batches((7, 7, 7))
    wrong = (data[2][0], data[2][1] + 4)
    asked = {"orderings": 2} if measure is ablation_curve else {}
    with pytest.warns(
        UserWarning, match=r"classes are 0 to 3; .* \(batch 2\); only the 14 images before it are measured"
    ):
        found = measure(seeded(chain), iter([*data[:2], wrong, data[0]]), **asked)
    expected = measure(seeded(chain), data[:2], **asked)
    if measure is ablation_curve:
        assert found.images == 14
        found, expected = found.accuracy, expected.accuracy
    assert torch.equal(found, expected)


def test_images_that_the_network_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [*batches((7, 7)), (images(4, 2, 6, 5), torch.tensor([0, 1, 2, 3]))]
    with pytest.warns(UserWarning, match=r"takes images \(2, 4, 4\), not \(2, 6, 5\): .* \(batch 2\); only the 14"):
        curve = ablation_curve(seeded(chain), iter(data), orderings=2)
    assert torch.equal(curve.accuracy, ablation_curve(seeded(chain), data[:2], orderings=2).accuracy)
    monkeypatch.setattr(Incremental, "cumulative", never)
    with pytest.raises(BadInput, match=r"takes images \(2, 4, 4\), not \(2, 6, 5\)"):
        ablation_curve(seeded(chain), data)


def pooled() -> nn.Module:
    return nn.Sequential(
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()),
        nn.Linear(256, 4),
    )


@pytest.mark.parametrize("kind", [list, iter])
def test_images_of_another_shape_change_the_method(kind) -> None:
    data = [batches((300,))[0], (images(4, 2, 6, 5), torch.tensor([0, 1, 2, 3])), batches((5,))[0]]
    expected = ablation_curve(seeded(pooled), data, method="reference").accuracy
    curve = ablation_curve(seeded(pooled), kind(data))
    assert torch.equal(curve.accuracy, expected)
    assert curve.method == "prefix"
    assert curve.why.endswith("sliced; prefix from the first images of shape (2, 6, 5) on")


@EACH_METHOD
def test_a_network_of_one_logit(method: str) -> None:
    """By hand: class 1 where the logit is above 0. Targets may be what a binary cross-entropy wants."""
    network = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 20), nn.GELU(), nn.Linear(20, 1)))
    inputs, targets = images(30, 2, 4, 4), torch.arange(30) % 2
    with torch.no_grad():
        plain = ((network(inputs)[:, 0] > 0) == targets).double().mean()
        constant = (targets == int(network[3].bias > 0)).double().mean()
    curves = [
        ablation_curve(network, [(inputs, given)], method=method, orderings=2, verify=3)
        for given in (targets, targets.double(), targets.float()[:, None])
    ]
    for curve in curves:
        assert torch.equal(curve.accuracy, curves[0].accuracy)
        assert curve.accuracy[:, [0, -1]].tolist() == [[float(plain), float(constant)]] * 2
    for wrong, message in ((targets + 1, "targets from 1 to 2.*classes are 0 to 1"), (targets + 0.5, "whole number")):
        with pytest.raises(BadInput, match=message):
            ablation_curve(network, [(inputs, wrong)])
    with pytest.raises(BadInput, match="top_k=2"):
        ablation_curve(network, [(inputs, targets)], top_k=2)


@pytest.mark.parametrize("shaped", [lambda p: p, lambda p: p.view(-1).unsqueeze(1)])
def test_a_network_of_one_probability_asks_for_a_logit(shaped) -> None:
    """By hand: a probability is never below 0, so all would be class 1. The logits are 1 and -1, and 0 if clamped."""
    network = Function(
        lambda self, x: shaped(torch.sigmoid(self.head(torch.relu(x)))), head=nn.Linear(2, 1, bias=False)
    )
    network.head.weight.data = torch.tensor([[1.0, -1.0]])
    pair = [(torch.eye(2), torch.tensor([1, 0]))]
    with pytest.raises(BadInput, match=r"Function: its one output is a probability .*: probability - 0\.5"):
        ablation_curve(network, pair)
    found = ablation_curve(network, pair, ["relu"], orderings=1, output=lambda probability: probability - 0.5)
    assert found.accuracy[0, [0, -1]].tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    "probability",
    [
        lambda z: z.sigmoid().clamp(1e-6, 1 - 1e-6),
        lambda z: 1 / (1 + (-z).exp()),
        lambda z: torch.cat([torch.zeros_like(z), z], 1).softmax(1)[:, 1:],
        lambda z: (torch.tanh(z / 2) + 1) / 2,
    ],
)
def test_one_output_between_0_and_1_is_told_of_once(probability) -> None:
    network = Function(lambda self, x: probability(self.head(torch.relu(x))), head=nn.Linear(2, 1, bias=False))
    network.head.weight.data = torch.tensor([[1.0, -1.0]])
    pair = [(torch.eye(2), torch.tensor([1, 0]))]
    with pytest.warns(UserWarning, match=r"between 0 and 1 for all of 2 images.*: probability - 0\.5") as told:
        ablation_curve(network, pair, ["relu"], orderings=1)
    assert len(told) == 1
    found = ablation_curve(network, pair, ["relu"], orderings=1, output=lambda probability: probability - 0.5)
    assert found.accuracy[0, [0, -1]].tolist() == [1.0, 0.5]
    ablation_curve(network, [(torch.eye(2)[:1].repeat(2, 1), torch.ones(2))], ["relu"], orderings=1)  # all equal


def test_logits_that_lie_between_0_and_1_for_the_first_images_alone_are_logits() -> None:
    network = Function(lambda self, x: torch.relu(x).sum(1, keepdim=True), body=nn.Identity())
    inputs = torch.cat([torch.rand(8, 1), torch.zeros(8, 1)], 1)
    ablation_curve(network, [(torch.cat([inputs, 2 * torch.eye(2)]), torch.ones(10))], ["relu"], orderings=1)


def test_one_logit_without_a_dimension_of_classes_is_told_how_to_get_one() -> None:
    network = Function(lambda self, x: torch.relu(x).sum(1), body=nn.Identity())
    pair = [(torch.eye(2), torch.tensor([1, 0]))]
    with pytest.raises(BadInput, match=r"it is \(2,\); .*give output=lambda logits: logits\.unsqueeze\(1\)"):
        ablation_curve(network, pair, sites=["relu"])
    found = ablation_curve(network, pair, ["relu"], orderings=1, output=lambda logits: logits.unsqueeze(1))
    assert found.accuracy[0, [0, -1]].tolist() == [0.5, 0.5]  # all are of class 1, then all of class 0


@pytest.mark.parametrize(
    "change", [Tensor.double, Tensor.int, Tensor.byte, lambda targets: targets[:, None], lambda t: t.float()[:, None]]
)
def test_targets_may_be_of_any_integers_whole_floats_and_a_column(change) -> None:
    network = seeded(chain)
    given = [[inputs, change(targets)] for inputs, targets in batches()]  # a batch may be a list too
    expected = ablation_curve(network, batches(), points=3).accuracy
    assert ablation_curve(network, given, points=3).accuracy.equal(expected)
    assert unit_importance(network, given).equal(unit_importance(network, batches()))


@EACH_METHOD
def test_what_is_clamped_along_an_ordering_is_nested(method: str) -> None:
    """A network whose answer is its mask: class k is right for image k as long as unit k lives."""
    units = 40
    network = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Linear(units, units, bias=False)).double()
    network[2].weight.data = torch.eye(units).double()
    inputs = torch.eye(units).double()
    for target in range(3, units, 9):
        data = [(inputs[target : target + 1], torch.tensor([target]))]
        curve = ablation_curve(network, data, method=method, points="all")
        lived = curve.orderings.argsort(1)[:, target]
        expected = torch.arange(units + 1)[None] <= lived[:, None]
        assert torch.equal(curve.accuracy, expected.double())


def test_all_methods_and_batch_sizes_give_one_curve() -> None:
    network = seeded(chain)
    curves = [
        ablation_curve(network, batches(sizes), orderings=3, method=method, memory_budget=budget).accuracy
        for sizes in ((12,), (5, 5, 2), (1,) * 12)
        for method in METHODS
        for budget in (1, 2**30)
    ]
    assert curves[0].shape == (3, 39)
    assert all(torch.equal(curve, curves[0]) for curve in curves)
    assert curves[0].unique().numel() > 3


@EACH_METHOD
def test_portions_of_a_hundred_thousand_bytes(method: str) -> None:
    """Batches that are neither multiples of a portion nor smaller than it."""
    network, data = seeded(chain), batches((40, 3, 50, 1, 13))
    curve = ablation_curve(network, data, method=method, memory_budget=200_000, orderings=2, points=5)
    assert curve.images == 107
    expected = ablation_curve(network, data, method="reference", orderings=2, points=5)
    assert torch.equal(curve.accuracy, expected.accuracy)


def test_orderings_are_those_of_the_generator() -> None:
    network, data = seeded(chain), batches()
    torch.manual_seed(1)
    curve = ablation_curve(network, data, orderings=3, points=2)
    torch.manual_seed(2)
    assert torch.equal(ablation_curve(network, data, orderings=3, points=3).orderings, curve.orderings)
    other = ablation_curve(network, data, orderings=3, points=2, generator=torch.Generator().manual_seed(9))
    assert not torch.equal(other.orderings, curve.orderings)


def test_points() -> None:
    network, data = seeded(chain), batches()
    assert ablation_curve(network, data, points=4, orderings=1).units_ablated.tolist() == [0, 13, 25, 38]
    assert len(ablation_curve(network, data, orderings=1).units_ablated) == 39
    every = ablation_curve(network, data, points="all")
    one = ablation_curve(network, data, points=[17])
    assert torch.equal(one.accuracy, every.accuracy[:, 17:18])
    with pytest.raises(BadInput, match="points=40 is more than 38 units"):
        ablation_curve(network, data, points=40)


def test_an_area_needs_both_ends() -> None:
    curve = ablation_curve(two_units(), [(TWO_UNITS, TARGETS)], points=[0, 1])
    with pytest.raises(BadInput, match="points"):
        curve.auc  # noqa: B018


def test_area_between_uneven_points() -> None:
    curve = AblationCurve(torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]).double(), torch.tensor([0, 1, 10]), 10)
    torch.testing.assert_close(curve.auc, torch.tensor([0.075 + 0.225, 0.025 + 0.675]).double())
    torch.testing.assert_close(curve.auc_normalized, torch.tensor([0.3, torch.inf]).double())


def test_nothing_right_from_the_start_has_no_normalized_area() -> None:
    curve = AblationCurve(torch.zeros(1, 2).double(), torch.tensor([0, 10]), 10)
    assert curve.auc.tolist() == [0]
    assert curve.auc_normalized.isnan().all()


def test_the_corrected_area_of_a_straight_line_is_a_half() -> None:
    accuracy = torch.tensor([[1.0, 0.55, 0.1], [1.0, 1.0, 0.1], [0.1, 0.1, 0.1], [0.1, 0.3, 0.2]]).double()
    curve = AblationCurve(accuracy, units_ablated=torch.tensor([0, 1, 2]), units=2)
    corrected = torch.tensor([0.5, 0.75, torch.nan, torch.nan]).double()  # the last two know nothing above the floor
    torch.testing.assert_close(curve.auc_corrected, corrected, equal_nan=True)


def test_to_a_table_and_back() -> None:
    curve = ablation_curve(seeded(chain), batches(), points=7)
    frame = curve.to_frame()
    assert list(frame.columns) == ["ordering", "units_ablated", "fraction_ablated", "accuracy"]
    assert len(frame) == 70
    row = frame[(frame.ordering == 4) & (frame.units_ablated == curve.units_ablated[2].item())]
    assert row.accuracy.item() == curve.accuracy[4, 2]
    assert row.fraction_ablated.item() == curve.units_ablated[2] / 38
    read = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    for table in (frame, frame.sample(frac=1, random_state=0), read):
        back = AblationCurve.from_frame(table)
        # Older pandas read the last digit amiss.
        torch.testing.assert_close(back.accuracy, curve.accuracy, rtol=1e-14, atol=0)
        assert torch.equal(back.units_ablated, curve.units_ablated)
        assert back.units == 38
        torch.testing.assert_close(back.auc, curve.auc, rtol=1e-14, atol=0)


def test_a_table_of_some_points_still_knows_all_units() -> None:
    curve = ablation_curve(seeded(chain), batches(), points=[0, 7])
    assert AblationCurve.from_frame(curve.to_frame()).units == 38


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.drop(columns="accuracy"), "lacks the column accuracy"),
        (lambda frame: frame.drop(index=3), "lacks a point"),
        (lambda frame: frame[:0], "lacks a point"),
        (lambda frame: frame[frame.units_ablated == 0], "no point with a unit ablated"),
    ],
)
def test_a_broken_table(spoil, message: str) -> None:
    frame = ablation_curve(seeded(chain), batches(), points=3).to_frame()
    with pytest.raises(BadInput, match=message):
        AblationCurve.from_frame(spoil(frame))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "fast"}, "method='fast': one of auto, incremental, prefix, reference"),
        ({"clamp": "max"}, "clamp='max'"),
        ({"clamp": None}, "clamp=None"),
        ({"clamp": float("nan")}, "clamp=nan"),
        ({"clamp": float("inf")}, "clamp=inf"),
        ({"top_k": 0}, "top_k=0"),
        ({"orderings": 0}, "orderings=0"),
        ({"orderings": 1.5}, "orderings=1.5"),
        ({"verify": -1}, "verify=-1"),
        ({"points": 1}, "points=1"),
        ({"sites": ["nowhere"]}, "site 'nowhere'.*Closest of 8: "),
        ({"batches": []}, "batches: there is none"),
        ({"batches": None}, "batches: a list or a DataLoader .* not NoneType"),
        ({"batches": iter(())}, "batches: there is none"),
        ({"batches": [torch.ones(3, 2, 4, 4)]}, "pair of tensors"),
        ({"batches": [(torch.ones(3, 2, 4, 4), [0, 1, 2])]}, "pair of tensors"),
        ({"batches": [(torch.ones(3, 2, 4, 4).double(), torch.zeros(2).long())]}, r"int64 \(2,\) for 3 images"),
        ({"batches": [(torch.ones(3, 2, 4, 4).double(), torch.full((3,), 0.5))]}, "targets must be classes"),
        (
            {"batches": [(torch.ones(3, 2, 4, 4).double(), torch.zeros(3, 4))]},
            r"targets must be .*if they are one-hot, give batch_to_xy=.*\.argmax\(1\)",
        ),
        ({"batches": TensorDataset(torch.ones(3, 2, 4, 4), torch.zeros(3))}, "single images; give a DataLoader"),
        (
            {"batches": [(torch.ones(3, 2, 4, 4), torch.zeros(3).long())]},
            r"network Sequential: it cannot take float32 \(3, 2, 4, 4\): Input type \(float\) and .* the same",
        ),
        ({"memory_budget": "1G"}, "memory_budget='1G'"),
        ({"memory_budget": 0}, "memory_budget=0"),
        ({"sites": [2]}, r"sites=\[2\]: a list of names is needed"),
        ({"batches": [(torch.ones(3, 2, 4, 4).double(), torch.tensor([0, 1, 4]))]}, "targets from 0 to 4"),
        ({"batches": [(torch.ones(3, 2, 4, 4).double(), torch.tensor([0, -1, 3]))]}, "targets from -1 to 3"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_network_as_it_was(wrong: dict, message: str) -> None:
    network = seeded(chain).train()
    before = state(network)
    for measure in (ablation_curve, unit_importance):
        if measure is unit_importance and set(wrong) & {"orderings", "points", "verify"}:
            continue
        with pytest.raises(BadInput, match=message) as error:
            measure(network, **{"batches": batches(), **wrong})
        assert "\n" not in str(error.value)
    assert state(network) == before


MAKE = pytest.mark.parametrize("make", [lambda: seeded(chain), untraceable, mixing])


@MAKE
@pytest.mark.parametrize("method", ["reference", "auto"])
@pytest.mark.parametrize("clamp", ["zero", "mean"])
def test_measuring_leaves_no_trace(make, method: str, clamp: str) -> None:
    network = make().train()
    next(network.children()).eval()
    dataset = TensorDataset(*(torch.cat(part) for part in zip(*batches(), strict=True)))
    loader = DataLoader(dataset, batch_size=5, shuffle=True)
    before = state(network)
    ablation_curve(network, loader, method=method, clamp=clamp, verify=2)
    unit_importance(network, loader, method=method, clamp=clamp)
    assert state(network) == before


@MAKE
@EACH_METHOD
@pytest.mark.filterwarnings("ignore:method=.* falls back to reference")
def test_an_exception_in_the_middle_leaves_no_trace(make, method: str) -> None:
    """In the second batch, in a layer behind the first site, once many points have been measured."""
    network = make().train()
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    armed = {"calls": 10**9}

    def fail(module: nn.Module, inputs: tuple[Tensor]) -> None:
        armed["calls"] -= 1
        if armed["calls"] < 0:
            raise ZeroDivisionError

    last.register_forward_pre_hook(fail)

    def failing():
        first, *rest = batches()
        yield first
        yield first
        torch.rand(3)
        armed["calls"] = 3
        yield from rest

    before = state(network)
    for measure in (ablation_curve, unit_importance):
        armed["calls"] = 10**9
        with pytest.raises(ZeroDivisionError):
            measure(network, failing(), method=method, memory_budget=1)
        assert state(network) == before


def test_a_tensor_made_in_forward_stays_out_of_the_network() -> None:
    network = Function(lambda self, x: self.head((x * torch.linspace(0, 1, 3)).relu()), head=nn.Linear(3, 4))
    data = [(torch.randn(6, 3), torch.randint(4, (6,)))]
    before, repeated = set(vars(network)), RepeatedEstimate(network, data, masks=1000)
    expected = ablation_curve(network, data, method="reference").accuracy
    for method in ("incremental", "prefix"):
        assert ablation_curve(network, data, method=method).accuracy.equal(expected)
    assert unit_importance(network, data).shape == (3,)
    assert repeated().auc == repeated().auc == ablation_auc(network, data, masks=1000).auc
    assert set(vars(network)) == before


def test_what_a_forward_pass_keeps_is_as_before() -> None:
    """Attributes, and buffers changed in place and anew, by passes that measure and by tracing."""

    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(3, 5), nn.Linear(5, 4)
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("mean", None)
            self.hidden = None

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.hidden = self.layer(x).relu()
            self.mean, self.new = self.hidden.mean(0), 1
            return self.head(self.hidden)

    network = Keeping().requires_grad_(False)
    batches = [(torch.randn(6, 3), torch.randint(4, (6,)))]
    network(batches[0][0])
    hidden, mean = network.hidden, network.mean
    del network.new
    ablation_curve(network, batches, orderings=1)
    assert network.calls == 1
    assert network.hidden is hidden
    assert network.mean is mean
    assert not hasattr(network, "new")
    copied = copy.deepcopy(network)
    assert copied(batches[0][0]).equal(network(batches[0][0]))


@EACH_METHOD
def test_batches_that_fail_leave_no_trace(method: str) -> None:
    def failing():
        yield from batches()
        raise ZeroDivisionError

    network = seeded(chain).train()
    before = state(network)
    with pytest.raises(ZeroDivisionError):
        ablation_curve(network, failing(), method=method)
    assert state(network) == before


@EACH_METHOD
def test_batches_that_can_be_gone_over_only_once(method: str) -> None:
    network = seeded(chain)
    expected = ablation_curve(network, batches(), method=method)
    found = ablation_curve(network, iter(batches()), method=method, progress=True)
    assert found.images == 12
    assert torch.equal(found.accuracy, expected.accuracy)
    assert torch.equal(
        unit_importance(network, (batch for batch in batches()), method=method),
        unit_importance(network, batches(), method=method),
    )
    with pytest.raises(BadInput, match='clamp="mean" goes over them twice'):
        ablation_curve(network, iter(batches()), method=method, clamp="mean")


def test_images_of_several_shapes() -> None:
    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(2, 20, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 4))
    )
    data = [batches((3,))[0], (images(4, 2, 6, 5), torch.tensor([0, 1, 2, 3]))]
    expected = ablation_curve(network, data, method="reference").accuracy
    assert torch.equal(ablation_curve(network, data, method="prefix").accuracy, expected)


@EACH_METHOD
def test_an_image_that_is_not_finite_is_never_right(method: str) -> None:
    network, data = seeded(chain), batches((70, 2))
    data[1][0][1, 0, 0, 0] = torch.nan
    curve = ablation_curve(network, data, method=method, points=[0])
    finite = ablation_curve(network, [data[0], (data[1][0][:1], data[1][1][:1])], method=method, points=[0])
    assert torch.equal((curve.accuracy * 72).round(), (finite.accuracy * 71).round())


# Which method, and why


def test_the_method_chosen_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="single_directions")
    curve = ablation_curve(seeded(wide), [(images(200, 2, 4, 4), torch.arange(200) % 4)])
    assert curve.method == "incremental"
    assert curve.why == "2 of the 2 layers after the first site are updated or sliced"
    assert [record.getMessage() for record in caplog.records] == [
        "ablation of 2 sites with 1024 units: 2 (512 units in dimension 1), 4 (512 units in dimension 1)",
        f"ablation by method incremental: {curve.why}",
    ]


def test_prefix_where_the_fast_path_gains_nothing() -> None:
    curve = ablation_curve(seeded(chain), batches(), sites=["7"], points=2)
    assert curve.method == "prefix"
    assert "no layer" in curve.why


@pytest.mark.parametrize("method", METHODS[:3])
def test_the_method_asked_for(method: str) -> None:
    curve = ablation_curve(seeded(chain), batches(), method=method, points=2)
    assert (curve.method, curve.why) == (method, "as asked")


@pytest.mark.parametrize(("make", "why"), [(untraceable, "cannot be traced: .*control flow"), (mixing, "other images")])
def test_reference_where_nothing_else_is_exact(make, why: str) -> None:
    network, data = make().double(), batches()
    expected = ablation_curve(network, data, method="reference", sites=["inner.5"])
    curve = ablation_curve(network, data, sites=["inner.5"])
    assert curve.method == "reference"
    assert re.search(why, curve.why)
    assert torch.equal(curve.accuracy, expected.accuracy)
    for method in ("prefix", "incremental"):
        with pytest.warns(UserWarning, match=f"method='{method}' falls back to reference, since .*{why}"):
            curve = ablation_curve(network, data, method=method, sites=["inner.5"])
        assert curve.method == "reference"
        assert torch.equal(curve.accuracy, expected.accuracy)


@pytest.mark.parametrize("sizes", [(12,), (1, 11)])
def test_batch_norm_without_running_statistics(sizes: tuple[int, ...]) -> None:
    network = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 20, 3), nn.BatchNorm2d(20, track_running_stats=False), nn.ReLU()),
            *(nn.Conv2d(20, 18, 1), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)),
        )
    )
    curve = ablation_curve(network, batches(sizes))
    assert curve.method == "reference"
    with torch.no_grad():
        right = sum((network(inputs).argmax(1) == targets).sum() for inputs, targets in batches(sizes))
    assert curve.accuracy[:, 0].tolist() == [float(right) / 12] * 10


class Overwriting(nn.Module):
    """The skip sees what the ReLU, the sum or the function overwrote."""

    def __init__(self, overwrite) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Conv2d(2, 20, 3), nn.ReLU(inplace=True), nn.Conv2d(20, 20, 1)
        self.head, self.overwrite = nn.Linear(80, 4), overwrite

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.second(self.overwrite(self, y))
        return self.head((y + self.relu(z)).flatten(1))


@pytest.mark.parametrize(
    "overwrite",
    [
        lambda self, y: self.relu(y),
        lambda self, y: nn.functional.relu(y, inplace=True),
        lambda self, y: y.relu_(),
        lambda self, y: nn.functional.elu_(y),
        lambda self, y: y.mul_(2),
        lambda self, y: torch.abs(y, out=y),
        lambda self, y: y.copy_(y * 2),
    ],
)
def test_networks_that_count_on_overwriting(overwrite) -> None:
    network = seeded(lambda: Overwriting(overwrite)).eval()
    data = batches()
    curve = ablation_curve(network, data, sites=["second"], points=[0, 20])
    assert curve.method == "reference"
    assert "cannot be traced" in curve.why
    inputs, targets = (torch.cat(part) for part in zip(*data, strict=True))
    with torch.no_grad():
        plain = network(inputs).argmax(1) == targets
        network.second.register_forward_hook(lambda module, _, output: output * 0)
        none = network(inputs).argmax(1) == targets
    assert curve.accuracy.tolist() == [[float(plain.double().mean()), float(none.double().mean())]] * 10


def test_a_hook_on_the_whole_network() -> None:
    network = seeded(chain)
    network.register_forward_hook(lambda module, inputs, output: -output)
    curve = ablation_curve(network, batches(), points=[0])
    inputs, targets = (torch.cat(part) for part in zip(*batches(), strict=True))
    with torch.no_grad():
        plain = network.eval()(inputs).argmax(1) == targets
    assert curve.accuracy.tolist() == [[float(plain.double().mean())]] * 10


# Fewer bits


@pytest.mark.parametrize("clamp", ["zero", "mean", 0.5])
@FAST
def test_single_precision(method: str, clamp) -> None:
    network, data = seeded(chain, dtype=torch.float32), batches((100, 57), dtype=torch.float32)
    exact = ablation_curve(network, data, clamp=clamp, method="reference", orderings=2)
    curve = ablation_curve(network, data, clamp=clamp, method=method, orderings=2, verify=10**6)
    assert curve.method == method
    assert (curve.accuracy - exact.accuracy).abs().max() <= 1 / 157  # one image may sit on a boundary


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["autocast", "network"])
@pytest.mark.parametrize("clamp", ["zero", "mean", 0.5])
@FAST
def test_bfloat16(method: str, clamp, dtype: torch.dtype) -> None:
    network, data = seeded(chain, dtype=dtype), batches((100, 57), dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.float32):
        exact = ablation_curve(network, data, clamp=clamp, method="reference", orderings=2)
        curve = ablation_curve(network, data, clamp=clamp, method=method, orderings=2, verify=10**6)
    assert curve.method == method
    assert (curve.accuracy - exact.accuracy).abs().max() < 0.05
    assert (curve.auc - exact.auc).abs().max() < 0.02


# Networks that others wrote

ARCHITECTURES = {
    "resnet18": (torchvision.models.resnet18, 32, ["layer4.1.relu", "layer4.1.relu_1"]),
    "resnet50": (torchvision.models.resnet50, 32, ["layer4.2.relu", "layer4.2.relu_1", "layer4.2.relu_2"]),
    "mobilenet_v2": (
        torchvision.models.mobilenet_v2,
        32,
        ["features.16.conv.0.2", "features.17.conv.1.2", "features.18.2"],
    ),
    "squeezenet1_1": (torchvision.models.squeezenet1_1, 64, ["features.12.squeeze_activation", "classifier.2"]),
    "densenet121": (torchvision.models.densenet121, 32, ["features.denseblock4.denselayer16.relu2", "relu"]),
    "shufflenet_v2": (torchvision.models.shufflenet_v2_x0_5, 32, ["stage4.3.branch2.2", "conv5.2"]),
}


@pytest.mark.filterwarnings("ignore:no default site")  # squeezenet's last ReLU
@pytest.mark.parametrize("name", [*ARCHITECTURES])
def test_architectures_of_torchvision(name: str) -> None:
    make, size, few = ARCHITECTURES[name]
    network = seeded(lambda: make(weights=None, num_classes=10), dtype=torch.float64)
    data = [(images(3, 3, size, size), torch.tensor([0, 3, 9]))]
    cases = [(few, 4)] + [(None, [0, 20, 90])] * (name in ("resnet18", "squeezenet1_1"))
    for sites, points in cases:
        for method in ("prefix", "incremental"):
            # Raises if it differs.
            curve = ablation_curve(network, data, sites, 1, points, 0.1, method=method, verify=100)
            assert curve.method == method


def test_verification_would_have_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the tests of architectures above compare what they say."""
    compared = []
    compare = Verification._compare
    monkeypatch.setattr(Verification, "_compare", lambda *args: (compared.append(args[2:4]), compare(*args)))
    ablation_curve(seeded(chain), batches((3,)), orderings=2, points=3, verify=100)
    assert sorted(compared) == [(ordering, point) for ordering in range(2) for point in range(3)]


def test_a_transformer() -> None:
    """Units are channels here, and attention is run as it is."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x.flatten(2))).mean(1))

    network = seeded(
        lambda: Function(
            forward,
            embed=nn.Linear(16, 8),
            encoder=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1),
            head=nn.Linear(8, 4),
        )
    )
    expected = ablation_curve(network, batches(), sites=["embed"], method="reference").accuracy
    for method in ("prefix", "incremental"):
        assert torch.equal(ablation_curve(network, batches(), sites=["embed"], method=method).accuracy, expected)


@pytest.mark.parametrize("tokens", [1, 3, 4])
def test_a_transformer_whose_tokens_come_before_the_images(tokens: int) -> None:
    """The default of PyTorch's layers. The same weights with the images first are measured node by node."""

    class Tokens(nn.Module):
        def __init__(self, batch_first: bool) -> None:
            super().__init__()
            self.stem, self.relu = nn.Linear(6, 8), nn.ReLU()
            layer = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=batch_first)
            self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 4)
            self.first = batch_first

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.stem(x))
            return self.head(self.encoder(x).mean(1) if self.first else self.encoder(x.transpose(0, 1)).mean(0))

    first, behind = (seeded(lambda one=one: Tokens(one)) for one in (True, False))
    pair = [(images(9, tokens, 6), torch.arange(9) % 4)]
    curves = [ablation_curve(network, pair, orderings=2, clamp=0.3) for network in (first, behind)]
    assert [site.name for site in curves[0].sites] == [site.name for site in curves[1].sites]
    assert [(site.dim, site.images) for site in curves[1].sites] == [(2, 0), (2, 1), (2, 1)]
    assert curves[0].accuracy.equal(curves[1].accuracy)
    assert curves[1].why.endswith("images are not the first dimension of site 'encoder.layers.0.gelu'")
    assert unit_importance(first, pair).equal(unit_importance(behind, pair))
    settings = {"masks": 900, "method": "reference", "clamp": "mean"}
    assert ablation_auc(first, pair, **settings).right.equal(ablation_auc(behind, pair, **settings).right)
