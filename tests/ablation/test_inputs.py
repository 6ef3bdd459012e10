"""Networks that change their inputs in place are measured as those that do not, and the images stay as they are."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils.data import DataLoader, TensorDataset

from single_directions import BadInput, ablation_auc, ablation_curve, resolve_sites, unit_importance
from single_directions.ablation.estimate import RepeatedEstimate

IMAGES = 40


class Net(nn.Module):
    """`prepare` makes of the images what the layers read."""

    def __init__(self, prepare: Callable[[Tensor], Tensor], decides: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first, self.act, self.last = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)
        self.prepare, self.decides = prepare, decides

    def forward(self, x: Tensor) -> Tensor:
        if self.decides and x.sum() > 1e9:  # cannot be traced
            return x
        return self.last(self.act(self.first(self.prepare(x).flatten(1))))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(IMAGES, 4, generator=generator), torch.randint(3, (IMAGES,), generator=generator)


def subtract(x: Tensor) -> Tensor:
    x -= 0.5
    return x


def normalize(x: Tensor) -> Tensor:
    return x.sub_(0.5).div_(2.0)


def scale_part(x: Tensor) -> Tensor:
    x[:, 0] *= 3
    return x


def scale_data(x: Tensor) -> Tensor:
    x.data.mul_(3)
    return x


def set_data(x: Tensor) -> Tensor:
    x.data = x.data * 3
    return x


def through_a_view(x: Tensor) -> Tensor:
    x.view(-1).add_(1)
    return x


def add_dimension(x: Tensor) -> Tensor:
    return x.unsqueeze_(1) - 0.5


def rectify(x: Tensor) -> Tensor:
    return nn.functional.leaky_relu(x, 0.3, inplace=True)


@fx.wrap
def hidden_from_the_tracer(x: Tensor) -> Tensor:
    x += 1
    return x


PAIRS = [
    (subtract, lambda x: x - 0.5),
    (normalize, lambda x: (x - 0.5) / 2.0),
    (scale_part, lambda x: x * torch.tensor([3.0, 1, 1, 1])),
    (scale_data, lambda x: x * 3),
    (set_data, lambda x: x * 3),
    (through_a_view, lambda x: x + 1),
    (add_dimension, lambda x: x - 0.5),
    (rectify, lambda x: nn.functional.leaky_relu(x, 0.3)),
    (hidden_from_the_tracer, lambda x: x + 1),
]
EACH = pytest.mark.parametrize(("in_place", "harmless"), PAIRS, ids=[one.__name__ for one, _ in PAIRS])
IGNORE = pytest.mark.filterwarnings("ignore:method=.* falls back")


@EACH
@IGNORE
@pytest.mark.parametrize("decides", [False, True])
def test_numbers_are_those_of_the_network_that_changes_nothing(in_place, harmless, decides: bool) -> None:
    images, targets = data()
    given = images.clone()
    batches = list(zip(given.split(15), targets.split(15), strict=True))
    pure = [(images, targets)]
    plain, network = Net(harmless), Net(in_place, decides)
    for method in ("auto", "incremental", "prefix", "reference"):
        expected = ablation_curve(plain, pure, orderings=2, points="all", method="reference")
        curve = ablation_curve(network, batches, orderings=2, points="all", method=method, verify=5)
        assert curve.accuracy.equal(expected.accuracy)
        assert unit_importance(network, batches, method=method).equal(unit_importance(plain, pure))
    mean = ablation_curve(network, batches, orderings=1, clamp="mean")
    assert mean.accuracy.equal(ablation_curve(plain, pure, orderings=1, clamp="mean").accuracy)
    for method in ("auto", "prefix", "reference"):
        settings = {"masks": 200, "masks_per_image": 5, "points": "all"}  # to draw the same masks
        estimate = ablation_auc(network, batches, method=method, **settings)
        expected = ablation_auc(plain, pure, method=estimate.method, **settings)
        assert estimate.auc == pytest.approx(expected.auc, abs=1e-9)
        assert estimate.accuracy == expected.accuracy
    assert given.equal(images)


@EACH
@IGNORE
def test_an_estimate_repeated_leaves_images_as_they_are(in_place, harmless) -> None:
    images, targets = data()
    given = images.clone()
    repeated = RepeatedEstimate(Net(in_place), [(given, targets)], masks=200, points="all")
    first = repeated()
    kept = repeated._kept
    assert repeated().auc == first.auc
    assert (repeated._kept is kept) != bool(kept.measured.network.untraced)  # else all is prepared anew
    assert given.equal(images)


def test_images_of_a_loader_stay_as_they_are() -> None:
    images, targets = data()
    given = images.clone()
    loader = DataLoader(TensorDataset(given, targets), 15)
    expected = ablation_curve(Net(lambda x: (x - 0.5) / 2.0), loader, orderings=2)
    assert ablation_curve(Net(normalize), loader, orderings=2).accuracy.equal(expected.accuracy)
    assert resolve_sites(Net(normalize), None, given) == expected.sites
    assert given.equal(images)


def test_images_of_a_second_shape_stay_as_they_are() -> None:
    class Pooling(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.act(self.first(self.prepare(x).mean(1))))

    lengths = (3, 5, 3)
    given = [(torch.randn(10, length, 4), torch.arange(10) % 3) for length in lengths]
    before = [inputs.clone() for inputs, _ in given]
    expected = ablation_curve(Pooling(lambda x: x - 0.5), given, orderings=2)
    assert ablation_curve(Pooling(subtract), given, orderings=2).accuracy.equal(expected.accuracy)
    assert all(inputs.equal(old) for (inputs, _), old in zip(given, before, strict=True))


def test_nothing_is_copied_for_a_network_that_changes_nothing() -> None:
    pointers = []

    def note(x: Tensor) -> Tensor:
        pointers.append(x.data_ptr())
        return x * 2

    images, targets = data()
    ablation_curve(Net(note, decides=True), [(images, targets)], orderings=2, points=9)
    assert pointers.count(images.data_ptr()) >= 18


def test_a_network_that_changes_some_images_alone_is_told_of() -> None:
    images, targets = data()
    images[:20] = images[:20].clamp(max=1)
    images[30] = 5

    def sometimes(x: Tensor) -> Tensor:
        return x.div_(10) if x.max() > 4 else x

    batches = list(zip(images.split(10), targets.split(10), strict=True))
    with pytest.raises(BadInput, match="changes some of its inputs in place; let its forward"):
        ablation_curve(Net(sometimes, decides=True), batches, orderings=1)


@pytest.mark.parametrize("inference", [False, True])
def test_images_made_in_inference_mode_stay_as_they_are(inference: bool) -> None:
    with torch.inference_mode(inference):
        images, targets = data()
        given = images.clone()
        curves = [
            ablation_curve(Net(prepare), [(given, targets)], orderings=1)
            for prepare in (normalize, lambda x: (x - 0.5) / 2.0)
        ]
        assert curves[0].accuracy.equal(curves[1].accuracy)
        assert given.equal(images)


class Squeezing(nn.Module):
    """With one image it removes the dimension of images, too."""

    def __init__(self, safe: bool = False, decides: bool = False, width: int = 6) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.conv, self.act, self.last = nn.Conv2d(1, width, 3), nn.ReLU(), nn.Linear(width, 3)
        self.safe, self.decides = safe, decides

    def forward(self, x: Tensor) -> Tensor:
        if not self.safe and len(x) == 1:
            raise IndexError("one image alone")
        if self.decides and x.sum() > 1e9:  # cannot be traced
            return x
        pooled = nn.functional.adaptive_avg_pool2d(self.act(self.conv(x)), 1)
        return self.last(pooled.flatten(1) if self.safe else pooled.squeeze())


class Plain(Squeezing):
    """The same without a look at the number of images, which cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(nn.functional.adaptive_avg_pool2d(self.act(self.conv(x)), 1).squeeze())


class OneLogit(nn.Module):
    """Its `squeeze` leaves no dimension of one image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x.flatten(1)))).squeeze()


def pictures(*sizes: int, classes: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    each = (torch.randn(size, 1, 6, 6, generator=generator) for size in sizes)
    return [(inputs, torch.arange(len(inputs)) % classes) for inputs in each]


@IGNORE
@pytest.mark.parametrize("memory_budget", [1, 7_000, 2**30])
@pytest.mark.parametrize("sizes", [(33,), (2, 2), (3,), (4, 3, 2, 2), (2, 31)])
@pytest.mark.parametrize("kind", [Plain, Squeezing])
def test_no_pass_has_one_image_where_no_batch_has(kind, sizes: tuple[int, ...], memory_budget: int) -> None:
    batches, settings = pictures(*sizes), {"memory_budget": memory_budget}
    for method in ("auto", "incremental", "prefix", "reference"):
        expected = ablation_curve(Squeezing(safe=True), batches, orderings=2, points="all", method="reference")
        curve = ablation_curve(kind(), batches, orderings=2, points="all", method=method, **settings)
        assert curve.accuracy.equal(expected.accuracy)
        importance = unit_importance(kind(), batches, method=method, **settings)
        assert importance.equal(unit_importance(Squeezing(safe=True), batches))
    if sum(sizes) < 20:
        settings["masks_per_image"] = 10
    for method in ("auto", "prefix", "reference"):
        for masks in (20, 2000):
            estimate = ablation_auc(kind(), batches, masks=masks, points=[0, 2, 4, 6], method=method, **settings)
            assert estimate.curve[-1] == expected.accuracy[0, -1] or masks == 20
            assert 0 < estimate.auc < 1


@pytest.mark.parametrize("sizes", [(32, 1), (4, 1, 1, 4)])
@pytest.mark.parametrize("decides", [False, True])
def test_a_batch_of_one_image_is_measured_by_the_reference(sizes: tuple[int, ...], decides: bool) -> None:
    batches, network = pictures(*sizes), Squeezing(decides=True) if decides else Plain()
    for measure in (partial(ablation_curve, points=3, orderings=2), unit_importance):
        expected = measure(Squeezing(safe=True), batches, method="reference")
        found = measure(network, batches, method="reference")
        assert getattr(found, "accuracy", found).equal(getattr(expected, "accuracy", expected))


@pytest.mark.parametrize("method", ["auto", "prefix", "reference"])
def test_one_logit_that_is_squeezed_can_be_measured(method: str) -> None:
    network, settings = OneLogit(), {"output": lambda logits: logits.unsqueeze(1)}
    safe = nn.Sequential(nn.Flatten(), network.first, nn.ReLU(), network.last)
    batches, settings["method"] = pictures(17, 16, classes=2), method
    estimate = ablation_auc(network, batches, masks=500, points=5, masks_per_image=3, **settings)
    expected = ablation_auc(safe, batches, masks=500, points=5, masks_per_image=3, method=method)
    assert estimate.auc == pytest.approx(expected.auc)
    one_drawn = ablation_auc(network, batches, masks=12, points=5, masks_per_image=12, **settings)
    assert one_drawn.images == 1
