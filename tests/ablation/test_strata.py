import math

import pytest
import torch
from torch import Tensor, nn

from single_directions import AblationEstimate, BadInput, ablation_auc
from single_directions.ablation.masks import Masks, weights
from single_directions.ablation.strata import by_class


def test_a_class_counts_as_much_as_it_has_images_in_the_population() -> None:
    """3 of 4 images of the population are of class 0; of 30 measured 10 are, and all of these are right."""
    classes = (torch.arange(30) >= 10).long()
    strata = by_class(classes, torch.tensor([75, 25]), 30)
    assert strata.of.equal(classes)
    assert strata.weights.tolist() == pytest.approx([2.25] * 10 + [0.375] * 20)
    estimate = AblationEstimate(
        intact=classes == 0,
        ablated=torch.arange(30) < 15,
        right=torch.empty(30, 0),
        points=torch.empty(30, 0, dtype=torch.int64),
        cluster=torch.arange(30),
        units_ablated=torch.tensor([0, 1]),
        units=1,
        classes=classes,
        class_counts=torch.tensor([75, 25]),
    )
    assert estimate.accuracy == pytest.approx(0.75)
    assert estimate.accuracy_se < 1e-15  # within a class all images are answered alike
    # All of class 0 and a quarter of class 1: the variance of the latter mean is 1/4 x 3/4 / 19, its share is 1/4.
    assert estimate.curve[-1].item() == pytest.approx(0.75 + 0.25 / 4)
    assert estimate.curve_se[-1].item() == pytest.approx(0.25 * math.sqrt(3 / 16 / 19))


@pytest.mark.parametrize(
    ("sizes", "strata"),
    [
        ([10, 12, 30], [0, 1, 2]),
        ([30, 9, 5, 10], [2, 0, 0, 1]),  # 14 images of two classes
        ([30, 3, 5, 10], [1, 0, 0, 0]),  # 8 are too few
        ([0, 20, 0], [0, 0, 0]),
        ([3, 2], [0, 0]),
    ],
)
def test_classes_of_few_images_are_one_stratum(sizes: list[int], strata: list[int]) -> None:
    classes = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    found = by_class(classes, torch.tensor([100] * len(sizes)), len(classes))
    assert found.of.tolist() == [strata[label] for label in classes]
    assert found.weights.mean().item() == pytest.approx(1)


UNITS, IMAGES, DRAWN = 4, 480, 120


@pytest.fixture(scope="module")
def answers() -> tuple[Tensor, Tensor]:
    """Whether each image of a population is right with each of 16 sets of units, and its class: 0 loses all at once."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (IMAGES,), generator=generator)
    clamped = (torch.arange(16)[:, None] >> torch.arange(UNITS) & 1).sum(1)
    chance = torch.stack([(1 - clamped / UNITS).pow(power) for power in (8.0, 1.0, 0.2)], dim=1)[:, classes]
    return torch.rand(16, IMAGES, generator=generator) < 0.05 + 0.7 * chance, classes


@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("fair", [True, False], ids=["at random", "as many of each class"])
def test_intervals_cover_at_their_rate(answers: tuple[Tensor, Tensor], each: int, fair: bool) -> None:
    table, classes = answers
    counts, points = torch.bincount(classes), torch.arange(UNITS + 1)
    sizes = (torch.arange(16)[:, None] >> torch.arange(UNITS) & 1).sum(1)
    curve = torch.stack([table[sizes == k].double().mean() for k in points])
    auc = float(weights(points, UNITS) @ curve)
    true = {"auc": auc, "auc_normalized": auc / float(curve[0]), "accuracy": float(curve[0])}
    generator = torch.Generator().manual_seed(1)
    found: dict[str, list[list[float]]] = {name: [] for name in true}
    plain = []
    for seed in range(400):
        order = torch.randperm(IMAGES, generator=generator)
        drawn = (
            order[:DRAWN] if fair else torch.cat([order[classes[order] == label][: DRAWN // 3] for label in range(3)])
        )
        at, masks, _ = Masks(UNITS, tuple(range(UNITS + 1)), DRAWN, each, seed, torch.device("cpu")).block(0)
        sets = (masks * 2 ** torch.arange(UNITS)).sum(-1)
        measured = {"intact": table[0, drawn], "ablated": table[-1, drawn], "right": table[sets, drawn].t().float()}
        rest = {"points": at.t(), "cluster": torch.arange(DRAWN), "units_ablated": points, "units": UNITS}
        estimate = AblationEstimate(**measured, **rest, population=IMAGES, classes=classes[drawn], class_counts=counts)
        plain.append(AblationEstimate(**measured, **rest, population=IMAGES).auc_se)
        for name in true:
            found[name].append([getattr(estimate, name), getattr(estimate, f"{name}_se")])
    for name, value in true.items():
        values, errors = torch.tensor(found[name], dtype=torch.float64).unbind(1)
        assert ((values - value).abs() <= 1.96 * errors).double().mean() > 0.92, name
        assert 0.9 < errors.mean() / values.std() < 1.2, name  # a standard deviation of 400 is known to 4 %
        assert abs(values.mean() - value) < 4 * values.std() / 20 + 0.003, name  # a ratio has a bias
    if fair:
        assert torch.tensor(found["auc"])[:, 1].mean() < 0.95 * torch.tensor(plain).mean()


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def batch(images: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(images, 4, generator=torch.Generator().manual_seed(0))
    return inputs, network()(inputs).argmax(1)


def test_classes_are_counted_where_all_images_of_the_population_are_read() -> None:
    inputs, targets = batch(400)
    some = ablation_auc(network(), [(inputs[:250], targets[:250]), (inputs[250:], targets[250:])], masks=240)
    assert some.images < 400
    assert some.class_counts is not None
    assert some.class_counts.equal(torch.bincount(targets, minlength=3))
    given = ablation_auc(network(), [(inputs, targets)], masks=240, population=torch.bincount(targets))
    assert given.auc == some.auc
    assert given.auc_se == some.auc_se
    unknown = ablation_auc(network(), [(inputs, targets)], masks=240, population=400.5)
    assert unknown.class_counts is None
    assert unknown.right.equal(some.right)
    assert some.auc_se < unknown.auc_se
    assert some.accuracy_se == unknown.accuracy_se == 0


def test_nothing_changes_where_all_images_are_measured() -> None:
    whole = ablation_auc(network(), [batch(50)], masks=200, masks_per_image=4)
    assert whole.images == whole.population == 50
    alone = AblationEstimate(**{**vars_of(whole), "class_counts": None})
    assert (whole.auc, whole.auc_se) == (alone.auc, pytest.approx(alone.auc_se, rel=1e-12))


def vars_of(estimate: AblationEstimate) -> dict:
    return {name: getattr(estimate, name) for name in AblationEstimate.__dataclass_fields__}


def test_parts_together_are_stratified_as_one() -> None:
    inputs, targets = batch(60)
    counts = torch.bincount(targets, minlength=3) * 5
    settings = {"masks": 120, "masks_per_image": 4, "population": counts, "points": 5}
    parts = [ablation_auc(network(), [(inputs[i::2], targets[i::2])], seed=i, **settings) for i in (0, 1)]
    whole = AblationEstimate.joined(parts)
    assert whole.classes is not None
    assert whole.classes.equal(torch.cat([targets[::2], targets[1::2]]))
    assert whole.class_counts is not None
    assert whole.class_counts.equal(counts)
    assert whole.auc_se < min(part.auc_se for part in parts)
    other = ablation_auc(
        network(), [(inputs[1::2], targets[1::2])], masks=120, masks_per_image=4, points=5, population=600
    )
    assert AblationEstimate.joined([parts[0], other]).class_counts is None


def test_images_that_share_masks_have_no_strata() -> None:
    mixing = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.ReLU(), nn.Linear(6, 3))
    inputs, targets = batch(60)
    pairs = list(zip(inputs.split(6), targets.split(6), strict=True))
    estimate = ablation_auc(mixing, pairs, masks=1200, population=torch.bincount(targets) * 10)
    assert estimate.classes is None
    assert estimate.population == 600


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (torch.tensor(60), "how many images each class has"),
        (torch.tensor([20.0, 20.0, 20.0]), "how many images each class has"),
        (torch.tensor([-1, 30, 40]), "how many images each class has"),
        (torch.tensor([1, 30, 20]), "population=51: there are 60 images"),
        (torch.tensor([1000, 1, 1]), r"population: classes have \[1000, 1, 1\] images in it"),
    ],
)
def test_counts_that_cannot_be_are_refused(population: Tensor, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ablation_auc(network(), [batch(60)], masks=120, population=population)
