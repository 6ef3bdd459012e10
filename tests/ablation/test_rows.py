"""All ways to run images with masks of their own give what the definition gives."""

import math
from collections.abc import Callable

import pytest
import torch
from exactness import assert_exact
from torch import Tensor, fx, nn

from single_directions.ablation.dataflow import Dataflow
from single_directions.ablation.masks import paired
from single_directions.ablation.rows import Cost, Split, Stages, WholePasses, choose_rows, mirrors, stages
from single_directions.ablation.sites import locate
from single_directions.networks import MLP


class Branching(nn.Module):
    """A late site that reads the images alone, a sum over a border, batch norm, and a size that `forward` reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.relu1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.second, self.relu2 = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.side, self.relu3 = nn.Conv2d(2, 4, 1), nn.ReLU()
        self.head = nn.Linear(4 * 9, 5)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, images: Tensor) -> Tensor:
        one = self.relu1(self.norm(self.first(images)))
        two = self.relu2(self.second(one)) + one * self.scale
        both = two + self.relu3(self.side(images))
        return self.head(both.flatten(1))


SITES = ["relu1", "relu2", "relu3"]


def network() -> Branching:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = Branching()
        built.norm.running_mean.normal_()
        built.norm.running_var.uniform_(0.5, 2)
    return built.eval()


@pytest.mark.parametrize("early_sites", [3, 2, 1])
@pytest.mark.parametrize("value", [0.0, 0.7])
@torch.no_grad()
def test_stages_give_what_whole_passes_give(early_sites: int, value: float) -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(6, 2, 3, 3, generator=generator)
    sited = locate(network(), SITES, inputs)
    values = torch.full((sited.units,), value)
    late, variants = 4 * (3 - early_sites), 3
    early_masks = torch.rand(4, 6, 12 - late, generator=generator) < 0.5
    late_masks = torch.rand(4, variants, 6, late, generator=generator) < 0.5
    split = Split(early_sites, variants, 0.0, Cost(1.0, 1.0), 1.0, "", {})
    rows = Stages(sited, Dataflow(sited), values, inputs, split, memory_budget=2**20)
    definition = WholePasses(sited, values)
    assert rows.stackable
    for one in (rows, definition):
        one.start(inputs)
    found = rows.logits(early_masks, late_masks)
    assert found.shape == (4, variants, 6, 5)
    assert torch.allclose(found, definition.logits(early_masks, late_masks), atol=1e-5)
    # Weights that change are taken in, also those of a batch norm that was folded.
    sited.network.norm.weight.mul_(-2)
    rows.renew()
    for one in (rows, definition):
        one.start(inputs)
    after = rows.logits(early_masks, late_masks)
    assert torch.allclose(after, definition.logits(early_masks, late_masks), atol=1e-5)
    assert not torch.allclose(after, found, atol=1e-2)


@torch.no_grad()
def test_a_node_runs_in_the_first_stage_that_it_can() -> None:
    sited = locate(network(), SITES, torch.zeros(2, 2, 3, 3) + torch.arange(3.0))
    runs, seen = stages(Dataflow(sited), early_sites=2)
    expected = {"first": 0, "relu1": 0, "second": 1, "relu2": 1, "relu3": 0, "add": 1, "add_1": 2, "head": 2}
    assert expected.items() <= {node.name: stage for node, stage in runs.items()}.items()
    assert {"relu1": 1, "relu2": 1, "relu3": 2}.items() <= {node.name: stage for node, stage in seen.items()}.items()


@torch.no_grad()
def test_a_cheap_last_site_has_variants() -> None:
    inputs = torch.rand(4, 1, 28, 28)
    sited = locate(MLP((1, 28, 28), 10).eval(), None, inputs)
    rows, why = choose_rows(sited, torch.zeros(sited.units), inputs, "auto", 2**30, mirrored=True)
    assert (rows.late, rows.variants) == (512, 4)
    assert "after relu2" in why
    one_site = locate(MLP((1, 28, 28), 10, hidden=(512,)).eval(), None, inputs)
    rows, _ = choose_rows(one_site, torch.zeros(512), inputs, "auto", 2**30)
    assert (rows.late, rows.variants) == (0, 1)


def dense() -> tuple[nn.Module, tuple[int, ...]]:
    layers = nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)
    return nn.Sequential(*layers), (6,)


def convolution_with_batch_norm() -> tuple[nn.Module, tuple[int, ...]]:
    norm = nn.BatchNorm2d(5)
    norm.running_mean.copy_(torch.linspace(-0.5, 0.1, 5))
    layers = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(5, 3)
    return nn.Sequential(*layers), (2, 5, 5)


def flattened() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)), (2, 5, 5)


@pytest.mark.parametrize("built", [dense, convolution_with_batch_norm, flattened])
@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("value", [0.0, -0.7])
@torch.no_grad()
def test_a_layer_behind_a_site_is_run_for_every_other_mask(
    built: Callable[[], tuple[nn.Module, tuple[int, ...]]], number: int, value: float
) -> None:
    network, shape = built()
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(6, *shape, generator=generator)
    sited = locate(network.eval(), None, inputs)
    values = torch.full((sited.units,), value)
    flow, early_sites = Dataflow(sited), len(sited.sites)
    split = Split(early_sites, 1, 0.0, Cost(1.0, 1.0), 1.0, "", mirrors(flow, early_sites))
    (layer,) = split.mirrors
    rows, definition = Stages(sited, flow, values, inputs, split, 2**20), WholePasses(sited, values)
    assert rows.mirrored
    ran: list[int] = []
    apply = rows._apply

    def counted(node: fx.Node, sources: dict[fx.Node, Tensor]) -> Tensor:
        if node is layer:
            ran.extend(map(len, sources.values()))
        return apply(node, sources)

    rows._apply = counted
    for one in (rows, definition):
        one.start(inputs)
    assert torch.allclose(rows.plain(), definition.plain(), atol=1e-5)
    drawn = torch.rand(math.ceil(number / 2), 6, sited.units, generator=generator) < 0.5
    early, late = paired(drawn, ~drawn, number), torch.zeros(number, 1, 6, 0, dtype=torch.bool)
    assert torch.allclose(rows.logits(early, late), definition.logits(early, late), atol=1e-5)
    assert ran == [6, 1, 6 * len(drawn)]  # nothing clamped, everything clamped, every other mask


@torch.no_grad()
def test_layers_that_mirrored_masks_do_not_give() -> None:
    """The layer adds something else, reads a site that other clamps reach, or computes in few bits."""

    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.relu = nn.Linear(4, 6), nn.Linear(6, 3), nn.ReLU()

        def forward(self, images: Tensor) -> Tensor:
            hidden = self.relu(self.one(images))
            return self.two(hidden) + hidden[:, :3]

    inputs = torch.randn(5, 4)
    squared = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Sigmoid(), nn.Linear(6, 3))
    half = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).bfloat16()
    for network, images in ((Doubled(), inputs), (squared, inputs), (half, inputs.bfloat16())):
        flow = Dataflow(locate(network.eval(), ["relu" if network.__class__ is Doubled else "1"], images))
        assert not mirrors(flow, 1)
    three = MLP((1, 2, 2), 3, hidden=(6, 5, 4)).eval()
    flow = Dataflow(locate(three, None, inputs.view(5, 1, 2, 2)))
    assert [node.name for node in mirrors(flow, 3)] == ["fc2"]
    assert not mirrors(flow, 0)


@torch.no_grad()
def test_a_size_that_comes_from_another_site_keeps_a_layer_from_being_mirrored() -> None:
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
            self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

        def forward(self, images: Tensor) -> Tensor:
            one = self.relu1(self.one(images))
            two = self.relu2(self.two(images).unsqueeze(2))
            return self.head(two.view(one.size(0), -1)) + one[:, :3]

    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert_exact(Viewed().eval(), inputs, ["relu1", "relu2"])


@pytest.mark.parametrize("huge", [math.inf, math.nan, 1e30])
@torch.no_grad()
def test_masks_that_clamp_a_huge_activation_give_what_is_left(huge: float) -> None:
    network, generator = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval(), torch.Generator()
    inputs = torch.randn(5, 4, generator=generator.manual_seed(0))
    sited = locate(network, None, inputs)
    values = torch.zeros(6)
    rows, _ = choose_rows(sited, values, inputs, "auto", 2**30, mirrored=True)
    assert rows.mirrored
    early = torch.rand(2, 5, 6, generator=generator) < 0.5
    early[:, :, 0] = True
    early, late = paired(~early, early, 4), torch.zeros(4, 1, 5, 0, dtype=torch.bool)
    network[0].bias[0] = huge
    definition = WholePasses(sited, values)
    rows.start(inputs)
    definition.start(inputs)
    expected = definition.logits(early, late)
    assert expected[1::2].isfinite().all()
    assert expected[1::2].abs().max() < 10
    assert torch.allclose(rows.logits(early, late)[1::2], expected[1::2], atol=1e-5)
