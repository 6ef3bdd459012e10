import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from single_directions import AblationEstimate, BadInput, ablation_auc
from single_directions.ablation.masks import Masks, weights
from single_directions.ablation.strata import by_class
from single_directions.training.signal import logged


def test_a_class_counts_as_much_as_it_has_images_in_the_population() -> None:
    """3 of 4 images of the population are of class 0; of 80 measured 20 are, and all of these are right."""
    classes = (torch.arange(80) >= 20).long()
    strata = by_class(classes, torch.tensor([75, 25]), 80)
    assert strata.of.unique(return_inverse=True)[1].equal(1 - classes)  # the rarer class comes first
    assert strata.weights.tolist() == pytest.approx([3.0] * 20 + [1 / 3] * 60)
    estimate = answered(intact=classes == 0, ablated=torch.arange(80) < 35, classes=classes, counts=[75, 25])
    assert estimate.accuracy == pytest.approx(0.75)
    assert estimate.accuracy_se < 1e-15  # within a class all images are answered alike
    # All of class 0 and a quarter of class 1: the variance of the latter mean is 1/4 x 3/4 / 59, its share is 1/4.
    assert estimate.curve[-1].item() == pytest.approx(0.75 + 0.25 / 4)
    assert estimate.curve_se[-1].item() == pytest.approx(0.25 * math.sqrt(3 / 16 / 59))


def answered(intact: Tensor, ablated: Tensor, classes: Tensor, counts: list[int] | None) -> AblationEstimate:
    """An estimate of a network of one unit, which has two points and no masks."""
    images = len(intact)
    return AblationEstimate(
        intact,
        ablated,
        right=torch.empty(images, 0),
        points=torch.empty(images, 0, dtype=torch.int64),
        cluster=torch.arange(images),
        units_ablated=torch.tensor([0, 1]),
        units=1,
        classes=classes,
        class_counts=None if counts is None else torch.tensor(counts),
    )


@pytest.mark.parametrize(
    ("counts", "strata"),
    [
        ([100, 120, 300], [0, 1, 2]),
        ([300, 90, 60, 150], [2, 0, 0, 1]),  # of 80 images 12 and 8 are expected: too few alone, enough together
        ([1000, 20, 30, 950], [1, 0, 0, 0]),
        ([1, 1, 1, 0], [0, 1, 2, 0]),
        ([0, 7, 0], [0, 0, 0]),
    ],
)
def test_rare_classes_are_one_stratum(counts: list[int], strata: list[int]) -> None:
    """The numbers measured do not decide it."""
    images = 120 if len(counts) == 3 else 80
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(torch.tensor(counts).double(), images, True, generator=generator)
        found = by_class(drawn, torch.tensor(counts), images)
        assert found.of.tolist() == [strata[label] for label in drawn]
        assert found.weights.mean().item() == pytest.approx(1)


def test_a_class_of_which_no_image_was_given_cannot_be_weighted() -> None:
    classes = torch.zeros(50, dtype=torch.int64)
    assert by_class(classes, torch.tensor([500, 500]), 50).weights.tolist() == [1] * 50


def test_rare_classes_do_not_bias_an_estimate() -> None:
    """Half of 40 classes are common and easy, the others rare and hard; each is measured about 10 times, or 3."""
    counts = torch.tensor([1000] * 20 + [300] * 20)
    chance = torch.tensor([0.9] * 20 + [0.3] * 20)
    true = float((counts * chance).sum() / counts.sum())
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        classes = torch.multinomial(counts.double(), 260, True, generator=generator)
        right = torch.rand(260, generator=generator) < chance[classes]
        estimate = answered(right, right, classes, counts.tolist())
        found.append((estimate.auc, estimate.auc_se))
    values, errors = torch.tensor(found, dtype=torch.float64).unbind(1)
    assert abs(values.mean() - true) < 4 * values.std() / 20
    assert ((values - true).abs() <= 1.96 * errors).double().mean() > 0.92


@pytest.mark.parametrize("seed", range(20))
def test_rounded_weights_make_no_accuracy_above_1_or_above_an_equal_floor(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(100, 3000, (10,), generator=generator)
    classes = torch.multinomial(counts.double(), 900, True, generator=generator)
    every = torch.ones(900, dtype=torch.bool)
    whole = answered(every, classes == 0, classes, counts.tolist())
    assert whole.accuracy <= 1
    assert logged(whole)["auc_normalized"] > 0
    equal = answered(classes == 1, classes == 2, classes, [1000] * 10)  # it answers one class, clamped another
    assert math.isnan(equal.auc_corrected)
    assert math.isnan(equal.auc_corrected_se)


def test_a_change_weighs_both_estimates_alike() -> None:
    """Else the same answers, with and without classes, would be a change."""
    classes = (torch.arange(90) >= 30).long()
    right = torch.arange(90) % 4 < 1 + classes
    now, before = (answered(right, right, classes, counts) for counts in ([700, 300], None))
    assert abs(now.auc - before.auc) > 0.05
    for one, other in ((now, before), (before, now)):
        assert one.change_from(other)["auc"] == (0, 0)


UNITS, IMAGES, DRAWN = 4, 480, 120
"""Units, images of a population, images drawn."""


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


def network(classes: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, classes))


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
    alone = replace(whole, class_counts=None)
    assert (whole.auc, whole.auc_se) == (alone.auc, pytest.approx(alone.auc_se, rel=1e-12))


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
    other = ablation_auc(network(), [(inputs[1::2], targets[1::2])], **{**settings, "population": 600})
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
        (torch.tensor([20.0, 20.0, 20.0]), "how many images each class has"),
        (torch.tensor([-1, 30, 40]), "how many images each class has"),
        (torch.tensor([0, 0]), "how many images each class has"),
        (torch.tensor(-3), "how many images each class has"),
        ("many", "how many images each class has"),
        (torch.tensor([1, 30, 20]), "population=51: must be at least the number of images in batches, 60"),
        (torch.tensor([1000, 0, 1]), "population: class 1 has 0 images in it, but"),
        (torch.tensor([60, 60, 60, 120]), "population: batches have hardly any image of some classes"),
    ],
)
def test_counts_that_cannot_be_are_refused(population: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ablation_auc(network(4), [batch(60)], masks=120, masks_per_image=2, population=population)


def test_counts_may_be_of_any_kind() -> None:
    inputs, targets = batch(60)
    counts = torch.bincount(targets) * 2
    kinds = [counts, counts.int(), counts.tolist(), counts.numpy(), counts.numpy().astype("uint16")]
    found = {ablation_auc(network(), [(inputs, targets)], masks=120, population=kind).auc_se for kind in kinds}
    assert len(found) == 1
    numbers = [120, 120.0, torch.tensor(120)]
    found = {ablation_auc(network(), [(inputs, targets)], masks=120, population=number).auc_se for number in numbers}
    assert len(found) == 1
