from typing import Any

import pytest
import torch
from exactness import PLENTY, Function, assert_exact, cumulative, images, located, seeded
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from single_directions.ablation.prefix import Prefix
from single_directions.ablation.sites import undisturbed


def chain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 5, 3), nn.ReLU(inplace=True)),
        *(nn.Flatten(), nn.Linear(20, 3)),
    )


@pytest.mark.parametrize("images_measured", [1, 2, 7])
@pytest.mark.parametrize("memory_budget", [1, 20_000, 100_000, PLENTY])
def test_however_many_points_are_stacked(images_measured: int, memory_budget: int) -> None:
    network, inputs = seeded(chain), images(images_measured, 2, 6, 6)
    sited = located(network, None, inputs)
    values, ordering = images(11, seed=2), torch.arange(11)
    with undisturbed(network):
        found = cumulative(Prefix(sited, values, inputs, memory_budget), inputs, ordering, range(12))
        for count in range(12):
            expected = sited.clamped(inputs, torch.arange(11) < count, values)
            torch.testing.assert_close(found[count], expected, rtol=0, atol=1e-13)


def test_what_lies_before_the_first_site_runs_once_a_batch() -> None:
    network, inputs = seeded(chain), images(4, 2, 6, 6)
    sited = located(network, ["3"], inputs)
    rows = {0: 0, 2: 0, 5: 0}  # images that each layer has seen
    for number in rows:
        network[number].register_forward_hook(
            lambda module, _, output, number=number: rows.update({number: rows[number] + len(output)})
        )
    with undisturbed(network):
        prefix = Prefix(sited, torch.zeros(5, dtype=torch.float64), inputs, PLENTY)
        rows.update(dict.fromkeys(rows, 0))
        prefix.start(inputs)
        for _ in range(3):
            list(prefix.cumulative(torch.randperm(5), range(6)))
        list(prefix.single(range(5)))
    assert rows == {0: 4, 2: 4, 5: 4 * (3 * 6 + 5)}


class Normed(nn.Module):
    """A batch norm that serves alone the layer before it, and one whose layer is read by another too."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(2, 5, 3), nn.ReLU()
        self.conv2, self.bn = nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
        self.skip, self.head = skip, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.relu1(self.conv1(x)))
        y = self.bn(x) + x if self.skip else self.bn(x)
        return self.head(y.relu().mean((2, 3)))


@pytest.mark.parametrize("skip", [False, True])
def test_batch_norm_is_folded_where_it_serves_its_layer_alone(skip: bool) -> None:
    network, inputs = seeded(lambda: Normed(skip)), images(3, 2, 6, 6)
    network(images(8, 2, 6, 6, seed=1))  # statistics to be folded
    assert_exact(network, inputs)
    sited = located(network, None, inputs)
    with undisturbed(network):
        prefix = Prefix(sited, torch.zeros(sited.units, dtype=torch.float64), inputs, PLENTY)
        prefix.start(inputs)
        with Operations() as seen:
            list(prefix.cumulative(torch.arange(sited.units), range(3)))
    assert ("native_batch_norm" in seen.names) == skip


class Operations(TorchDispatchMode):
    """Notes the names of the operations that torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_the_memory_budget_bounds_what_is_stacked() -> None:
    network, inputs = seeded(chain), images(2, 2, 6, 6)
    sited = located(network, ["3"], inputs)
    most = []
    network[5].register_forward_hook(lambda module, _, output: most.append(len(output)))
    with undisturbed(network):
        per_image = 8 * (5 * 4 + 5 * 4 + 3)  # ReLU, flattened, logits
        for images_stacked in (1, 2, 5, 6):
            prefix = Prefix(sited, torch.zeros(5, dtype=torch.float64), inputs, images_stacked * per_image)
            prefix.start(inputs)
            most.clear()
            list(prefix.cumulative(torch.arange(5), range(6)))
            assert max(most) == max(2, images_stacked - images_stacked % 2)


class Attending(nn.Module):
    """A fixed tensor that has tokens, not images, in its first dimension; it may have as many of both."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.summary, self.head = nn.Linear(4, 7), nn.Linear(4, 7), nn.Linear(7, 3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.tanh(self.tokens(x)).transpose(0, 1)
        return self.head((tokens * self.relu(self.summary(x.mean(1)))).mean(0))


@pytest.mark.parametrize("tokens", [1, 4, 5])
@pytest.mark.parametrize("images_measured", [1, 4, 5])
def test_a_fixed_tensor_without_a_row_an_image(tokens: int, images_measured: int) -> None:
    assert_exact(seeded(Attending), images(images_measured, tokens, 4), ["relu"])


def test_fixed_values_that_are_no_tensors() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        a, b = torch.chunk(self.first(x), 2, 1)
        y = torch.relu(a) * b
        return self.head(y.reshape(x.shape[0], -1) / x.shape[2])

    network = seeded(lambda: Function(forward, first=nn.Conv1d(2, 6, 3), head=nn.Linear(9, 3)))
    assert_exact(network, images(4, 2, 5))


def test_a_fixed_parameter_is_shared_by_all_images() -> None:
    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Conv1d(2, 6, 3, padding=1), nn.Linear(30, 3)
            self.position = nn.Parameter(torch.randn(1, 6, 5))
            self.register_buffer("table", torch.randn(4, 6, 5))  # as many as there are images, by chance

        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(self.first(x)) + self.position.sin() + self.table.mean(0)
            return self.head(y.flatten(1))

    for images_measured in (1, 4):
        assert_exact(seeded(Positioned), images(images_measured, 2, 5))


@pytest.mark.parametrize("images_measured", [1, 4])
def test_fixed_indices_of_images(images_measured: int) -> None:
    """Each image is answered at its token 2. Where that is cannot be stacked: it holds the number of the image."""

    def forward(self: nn.Module, tokens: Tensor) -> Tensor:
        found = (tokens == 2).nonzero()
        return self.head(torch.relu(self.layer(self.table(tokens)))[found[:, 0], found[:, 1]])

    network = seeded(
        lambda: Function(forward, table=nn.Embedding(4, 5), layer=nn.Linear(5, 6), head=nn.Linear(6, 3)),
        dtype=torch.float32,
    )
    assert_exact(network, torch.tensor([[0, 2, 3], [2, 1, 0], [3, 3, 2], [1, 2, 1]])[:images_measured])
