"""A network that is measured is afterwards what it was, whatever its own code does meanwhile."""

import copy
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from exactness import state
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor

from single_directions import ablation_auc, ablation_curve
from single_directions.ablation.sites import undisturbed
from single_directions.ablation.unchanged import unchanged

METHODS = ("auto", "incremental", "prefix", "reference")


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(20, 5, generator=generator), torch.arange(20) % 3) for _ in range(2)]


def measure(network: nn.Module) -> None:
    for method in METHODS:
        ablation_curve(network, batches(), ["act"], orderings=1, points=5, method=method)
    for method in ("prefix", "reference"):
        ablation_auc(network, batches(), ["act"], masks=100, points=5, method=method)


class Merging(nn.Linear):
    """A layer with a low-rank part, which `eval` adds to its frozen weight and `train` takes off again."""

    def __init__(self) -> None:
        super().__init__(5, 6)
        self.weight.requires_grad = False
        self.down, self.up = nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(6, 2))
        self.merged = False

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if mode == self.merged:
            self.merge(-1 if mode else 1)
            self.merged = not mode
        return self

    def merge(self, sign: int) -> None:
        self.weight.data += sign * self.up @ self.down

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.merged else super().forward(x) + x @ self.down.t() @ self.up.t()


class InPlace(Merging):
    def merge(self, sign: int) -> None:
        with torch.no_grad():
            self.weight.add_(sign * self.up @ self.down)


class NewMemory(Merging):
    def merge(self, sign: int) -> None:
        self.weight.data = self.weight.data + sign * self.up @ self.down


class NewParameter(Merging):
    def merge(self, sign: int) -> None:
        self.weight = nn.Parameter(self.weight + sign * self.up @ self.down, requires_grad=False)


class OneWay(Merging):
    """It is merged for good."""

    def merge(self, sign: int) -> None:
        if sign > 0:
            self.weight.data += self.up @ self.down
            self.down.data.zero_()


class Net(nn.Module):
    def __init__(self, first: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.act, self.last = first or nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x)))


@pytest.mark.parametrize("kind", [Merging, InPlace, NewMemory, NewParameter, OneWay])
@pytest.mark.parametrize("training", ["all", "layer", "none"])
def test_weights_that_a_mode_changes_are_bit_for_bit_as_before(kind: type[Merging], training: str) -> None:
    network = Net(kind())
    network.train(training == "all")
    network.first.train(training != "none")
    before, weight, memory = state(network), network.first.weight, network.first.weight.data_ptr()
    answer = network(batches()[0][0])
    measure(network)
    assert state(network) == before
    assert network.first.merged == (training == "none")
    assert network.first.weight is weight
    assert weight.data_ptr() == memory
    assert network(batches()[0][0]).equal(answer)


def test_a_layer_that_a_mode_merges_is_measured_as_the_same_layer_that_never_is() -> None:
    merging = Net(Merging())
    plain = copy.deepcopy(merging)
    plain.first.merge(1)
    plain.first.merged = True
    curves = [ablation_curve(network, batches(), ["act"], orderings=2, points=7) for network in (merging, plain.eval())]
    assert curves[0].accuracy.equal(curves[1].accuracy)


def test_layers_that_a_mode_replaces_are_there_again() -> None:
    class Deploying(nn.Module):
        """Two branches, which `eval` makes one layer of."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(5, 6), nn.Linear(5, 6)

        def train(self, mode: bool = True) -> "Deploying":
            if not mode and hasattr(self, "one"):
                self.both = nn.Linear(5, 6)
                self.both.weight.data = self.one.weight.data + self.other.weight.data
                del self.one, self.other
            return super().train(mode)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) + self.other(x) if hasattr(self, "one") else self.both(x)

    network = Net(Deploying())
    before, names = state(network), [name for name, _ in network.named_modules()]
    measure(network)
    assert [name for name, _ in network.named_modules()] == names
    assert state(network) == before


def test_a_network_with_a_graph_for_each_mode_runs_that_of_its_mode() -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    extractor = create_feature_extractor(network.train(), {"3": "logits"})
    with undisturbed(extractor):
        pass
    extractor(torch.ones(1, 5))
    assert extractor.training
    torch.manual_seed(0)
    answers = [extractor(torch.ones(1, 5))["logits"] for _ in range(8)]
    assert any(not answer.equal(answers[0]) for answer in answers)


def test_no_parameter_is_copied_where_modes_are_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    monkeypatch.setattr(nn.Parameter, "clone", lambda self: copied.append(self) or Tensor.clone(self), raising=False)
    monkeypatch.setattr(Tensor, "detach", lambda self: copied.append(self) or Tensor.data.__get__(self))
    with undisturbed(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout())):
        pass
    assert not any(isinstance(one, nn.Parameter) for one in copied)


def _resize(buffer: Tensor) -> None:
    buffer.resize_(7).fill_(1)


def _replace(buffer: Tensor) -> None:
    buffer.data = buffer.data + 1


def _add(buffer: Tensor) -> None:
    buffer.data += 1


OVERWRITE = pytest.mark.parametrize("overwrite", [_add, _replace, _resize, lambda buffer: buffer.add_(1)])


@OVERWRITE
@pytest.mark.parametrize("held", ["buffer", "attribute", "tuple", "dict of lists"])
def test_tensors_that_forward_overwrites_have_their_values(overwrite: Callable[[Tensor], Any], held: str) -> None:
    class Overwriting(Net):
        def forward(self, x: Tensor) -> Tensor:
            overwrite(kept)
            return super().forward(x)

    network, kept = Overwriting(), torch.tensor([1.0, float("inf"), -2.0])
    if held == "buffer":
        network.register_buffer("kept", kept)
    else:
        network.kept = {"attribute": kept, "tuple": (kept, 1), "dict of lists": {"a": [kept]}}[held]
    memory = kept.data_ptr()
    measure(network)
    assert kept.tolist() == [1.0, float("inf"), -2.0]
    assert kept.data_ptr() == memory or overwrite is _resize  # it was moved to where there is room


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own functions
def test_observers_of_quantization_aware_training_see_nothing() -> None:
    network = Net()
    network.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")
    network = torch.ao.quantization.prepare_qat(network.train())
    unseen = copy.deepcopy(network)
    for one in (network, unseen):  # with observers that have seen images, and with some that have not
        if one is network:
            one(batches()[0][0])
        before = {name: value.clone() for name, value in one.state_dict().items()}
        measure(one)
        after = one.state_dict()
        assert [name for name, value in before.items() if not value.equal(after[name])] == []


def test_buffers_that_cannot_be_compared_are_left_alone() -> None:
    network = Net()
    network.register_buffer("graph", torch.eye(3).to_sparse())
    network.register_buffer("one", torch.ones(1).expand(4))
    network.register_buffer("unknown", torch.full((2,), float("nan")))
    with unchanged(network):
        pass
    assert network.graph.to_dense().equal(torch.eye(3))
    assert network.one.equal(torch.ones(4))
    assert network.unknown.isnan().all()


class Filled(Net):
    """It keeps things as its user tells it to."""

    def __init__(self, held: Any, fill: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.held, self.fill = held, fill

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.act(self.first(x))
        self.fill(self.held, hidden)
        return self.last(hidden)


@pytest.mark.parametrize(
    ("held", "fill"),
    [
        ([1, 2], lambda held, h: held.append(h.mean())),
        ([1, 2], lambda held, h: held.__setitem__(0, h)),
        ([1, 2], lambda held, h: held.clear()),
        ({"a": 1}, lambda held, h: held.update(b=h)),
        ({"a": 1}, lambda held, h: held.update(a=h)),
        (OrderedDict(a=1, b=2), lambda held, h: held.move_to_end("a")),
        (defaultdict(list, a=[1]), lambda held, h: held["b"].append(h)),
        (defaultdict(list, a=[1]), lambda held, h: held["a"].append(h)),
        (Counter(a=3), lambda held, h: held.update("ab")),
        ({1, 2}, lambda held, h: held.add(id(h))),
        (deque([1, 2], maxlen=2), lambda held, h: held.append(h)),
        (([], {}), lambda held, h: held[0].append(h)),
        ({"losses": {"aux": []}}, lambda held, h: held["losses"]["aux"].append(h)),
    ],
)
def test_what_forward_puts_into_containers_is_gone(held: Any, fill: Callable[[Any, Tensor], Any]) -> None:
    network, before = Filled(held, fill), copy.deepcopy(held)
    measure(network)
    assert network.held is held
    assert held == before
    assert list(held) == list(before)


@pytest.mark.filterwarnings("ignore:method=")
@pytest.mark.parametrize(
    ("held", "draw"),
    [
        (torch.Generator().manual_seed(0), lambda held: torch.rand(1, generator=held).item()),
        ([np.random.default_rng(0)], lambda held: held[0].random()),
        ({"rng": np.random.RandomState(0)}, lambda held: held["rng"].normal()),
        (random.Random(0), lambda held: held.gauss()),
        (np.zeros(2), lambda held: held.__iadd__(1).sum()),
        ((nn.BatchNorm1d(6),), lambda held: held[0](torch.ones(4, 6)).sum().item()),
    ],
    ids=["torch", "NumPy", "NumPy's old", "Python", "array", "module"],
)
def test_generators_arrays_and_modules_in_attributes_are_as_before(held: Any, draw: Callable[[Any], Any]) -> None:
    network = Filled(held, lambda held, h: draw(held))
    unseen = copy.deepcopy(held)
    measure(network)
    if isinstance(held, tuple):
        values = [module[0].state_dict().values() for module in (held, unseen)]
        assert all(map(torch.equal, *values))
    assert [draw(held) for _ in range(3)] == [draw(unseen) for _ in range(3)]


def test_a_large_array_is_left_out_alone() -> None:
    network = nn.Linear(2, 2)
    network.large, network.count, network.resized = np.zeros(2_000_000), torch.zeros(1), np.zeros(3)
    with unchanged(network):
        network.count += 1
        network.resized.resize(6, refcheck=False)
    assert network.count.item() == 0


def test_a_training_with_auxiliary_losses_goes_on() -> None:
    network = Filled([], lambda held, h: held.append(h.mean()))
    ablation_curve(network, batches(), orderings=1)
    loss = F.cross_entropy(network(batches()[0][0]), batches()[0][1]) + sum(network.held)
    loss.backward()
    assert len(network.held) == 1


def test_a_container_holding_itself_is_kept() -> None:
    network = Net()
    network.kept = [1]
    network.kept.append(network.kept)
    with unchanged(network):
        network.kept.append(2)
    assert len(network.kept) == 2
    assert network.kept[1] is network.kept
