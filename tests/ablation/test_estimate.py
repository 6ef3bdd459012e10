import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from single_directions import AblationEstimate, BadInput, ablation_auc, ablation_curve
from single_directions.ablation.accuracy import correct
from single_directions.ablation.estimate import RepeatedEstimate, _prepared, plan_auc
from single_directions.ablation.masks import Masks, symmetric, weights

IMAGES, UNITS, CLASSES = 60, 6, 3
Batch = tuple[Tensor, Tensor]


def dense() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(4, UNITS), nn.ReLU(), nn.Linear(UNITS, CLASSES))
        for parameter in network.parameters():
            parameter.data.mul_(2)
    return network


class Untraceable(nn.Module):
    """The same network behind control flow. It tells how many images each pass took."""

    def __init__(self, tell: Callable[[int], object] = id) -> None:
        super().__init__()
        self.network, self.tell = dense(), tell

    def forward(self, inputs: Tensor) -> Tensor:
        self.tell(len(inputs))
        return self.network(inputs) if inputs.sum() > -1e9 else inputs


def mixing() -> nn.Sequential:
    """The answer to an image depends on the others of its batch."""
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Images with answers that `dense` gets right six times out of seven."""
    inputs = torch.randn(IMAGES, 4, generator=torch.Generator().manual_seed(0))
    targets = dense()(inputs).argmax(1)
    targets[::7] = (targets[::7] + 1) % CLASSES
    return inputs, targets


def accuracy_over_all_orderings(network: nn.Sequential, batch: Batch) -> Tensor:
    """Accuracy at each number of units, float64, (units + 1,), by going through every set of units."""
    inputs, targets = batch
    hidden = network[1](network[0](inputs))
    accuracy = []
    for number in range(UNITS + 1):
        right = []
        for clamped in itertools.combinations(range(UNITS), number):
            left = hidden.clone()
            left[:, list(clamped)] = 0
            right.append(correct(network[2](left), targets).double().mean())
        accuracy.append(torch.stack(right).mean())
    return torch.stack(accuracy)


@pytest.mark.parametrize("points", ["all", [0, 1, 4, 6]], ids=["all points", "uneven points"])
@pytest.mark.parametrize("masks_per_image", [None, 1, 7])
def test_is_the_mean_over_all_orderings(batch: Batch, points: str | list[int], masks_per_image: int | None) -> None:
    network, (inputs, targets) = dense(), batch
    many = [(inputs.repeat(100, 1), targets.repeat(100))]
    estimate = ablation_auc(network, many, masks=30_000, points=points, masks_per_image=masks_per_image)
    at = estimate.units_ablated
    curve = accuracy_over_all_orderings(network, batch)[at]
    auc = float(torch.trapezoid(curve, at / UNITS))
    expected = {"auc": auc, "auc_normalized": auc / curve[0], "accuracy": curve[0]}
    expected["auc_corrected"] = (auc - curve[-1]) / (curve[0] - curve[-1])
    for name, value in expected.items():
        assert getattr(estimate, name) == pytest.approx(float(value), abs=4 * getattr(estimate, f"{name}_se") + 1e-12)
        assert getattr(estimate, f"{name}_se") < 0.012
    assert (estimate.curve - curve).abs().le(4.5 * estimate.curve_se + 1e-12).all()
    assert estimate.auc == pytest.approx(float(weights(at, UNITS) @ estimate.curve))


def answers(network: nn.Sequential, batch: Batch) -> Tensor:
    """Whether each image is answered right with each set of units, bool, (2 ** units, images); bit i is unit i."""
    inputs, targets = batch
    hidden = network[1](network[0](inputs))
    sets = torch.arange(2**UNITS)[:, None] >> torch.arange(UNITS) & 1
    return torch.stack([correct(network[2](hidden * (1 - clamped)), targets) for clamped in sets])


@pytest.mark.parametrize(
    ("masks_per_image", "population"),
    [*itertools.product([1, 2, 6], [IMAGES, 2 * IMAGES, math.inf]), (30, IMAGES), (300, IMAGES)],
)
def test_intervals_cover_at_their_rate(batch: Batch, masks_per_image: int, population: float) -> None:
    """95 % intervals hold the true value in 92 to 98.5 % of 500 simulations; 3 of their standard errors are 3 %."""
    network = dense()
    table, curve = answers(network, batch), accuracy_over_all_orderings(network, batch)
    auc = float(torch.trapezoid(curve, torch.arange(UNITS + 1) / UNITS))
    true = {"auc": auc, "auc_normalized": auc / float(curve[0]), "accuracy": float(curve[0])}
    true["auc_corrected"] = (auc - float(curve[-1])) / float(curve[0] - curve[-1])
    generator = torch.Generator().manual_seed(0)
    estimates = []
    for seed in range(500):
        drawn = torch.arange(IMAGES)
        if population == 2 * IMAGES:  # a population that holds each image twice
            drawn = torch.randperm(2 * IMAGES, generator=generator)[:IMAGES] % IMAGES
        elif population == math.inf:
            drawn = torch.randint(IMAGES, (IMAGES,), generator=generator)
        masks = Masks(UNITS, tuple(range(UNITS + 1)), IMAGES, masks_per_image, seed, torch.device("cpu"))
        points, clamped, _ = masks.block(0)
        sets = (clamped * 2 ** torch.arange(UNITS)).sum(-1)
        estimates.append(
            AblationEstimate(
                intact=table[0, drawn],
                ablated=table[-1, drawn],
                right=table[sets, drawn].t().float(),
                points=points.t(),
                cluster=torch.arange(IMAGES),
                units_ablated=torch.arange(UNITS + 1),
                units=UNITS,
                population=population,
            )
        )
    for name, value in true.items():
        found = torch.tensor([getattr(estimate, name) for estimate in estimates], dtype=torch.float64)
        errors = torch.tensor([getattr(estimate, f"{name}_se") for estimate in estimates], dtype=torch.float64)
        covered = ((found - value).abs() <= 1.96 * errors + 1e-12).double().mean()
        assert covered > 0.92, name
        if found.std() > 1e-9:
            # One or two masks cannot be told from their image: if all or many images of the population are measured,
            # intervals are too long.
            exact = population == math.inf or masks_per_image > 2
            assert covered < 0.985 or not exact, name
            assert errors.mean() / found.std() > 0.9, name
            assert errors.mean() / found.std() < 1.15 or not exact, name
            assert abs(found.mean() - value) < 4 * found.std() / math.sqrt(500) + 0.004, name  # a ratio has a bias


def alike(sets: Tensor) -> Tensor:
    """Right if two units are both clamped or both not: so a mask and its mirror are answered alike."""
    return sets[..., 0] == sets[..., 1]


def redundant(sets: Tensor) -> Tensor:
    """Right if one of two units is left, and one of two others."""
    return ~(sets[..., 0] & sets[..., 1] | sets[..., 2] & sets[..., 3])


@pytest.mark.parametrize("right", [alike, redundant])
@pytest.mark.parametrize("masks_per_image", [2, 4, 5, 12])
def test_the_error_counts_what_the_masks_of_an_image_have_in_common(right, masks_per_image: int) -> None:
    units, images, points = 8, 40, torch.arange(9)
    estimates = []
    for seed in range(300):
        at, clamped, _ = Masks(units, tuple(range(9)), images, masks_per_image, seed, torch.device("cpu")).block(0)
        ends = torch.tensor([[False], [True]]).expand(2, units)
        intact, ablated = right(ends).unsqueeze(1).expand(2, images)
        answers = {"right": right(clamped).t().float(), "points": at.t(), "cluster": torch.arange(images)}
        estimates.append(AblationEstimate(intact, ablated, **answers, units_ablated=points, units=8, population=images))
    found = torch.tensor([estimate.auc for estimate in estimates])
    errors = torch.tensor([estimate.auc_se for estimate in estimates])
    assert 0.9 < errors.mean() / found.std() < 1.15  # a standard deviation of 300 is known to 4 %


def test_all_methods_and_batches_give_the_same_answers(batch: Batch) -> None:
    inputs, targets = batch
    expected = ablation_auc(dense(), [batch], masks=600, seed=3)
    assert expected.method == "prefix"
    assert expected.cluster.tolist() == list(range(IMAGES))
    others = [
        ablation_auc(dense(), [batch], masks=600, seed=3, masks_per_image=10, method="reference"),
        ablation_auc(Untraceable(), [batch], sites=["network.1"], masks=600, seed=3, masks_per_image=10),
        ablation_auc(dense(), list(zip(inputs.split(7), targets.split(7), strict=True)), masks=600, seed=3),
        ablation_auc(dense(), list(zip(inputs.split(1), targets.split(1), strict=True)), masks=600, seed=3),
        ablation_auc(dense(), [batch], masks=600, seed=3, memory_budget=1),
    ]
    for other in others:
        for name in ("right", "points", "intact", "ablated"):
            assert torch.equal(getattr(other, name), getattr(expected, name)), (name, other.method)
    assert [other.method for other in others] == ["reference", "reference", "prefix", "prefix", "prefix"]
    assert not torch.equal(ablation_auc(dense(), [batch], masks=600, seed=4).right, expected.right)


@pytest.mark.parametrize("clamp", ["zero", "mean", 0.5])
def test_agrees_with_curves_of_many_orderings(clamp: str | float) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(2)
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5)
    network = nn.Sequential(*layers)
    inputs = torch.randn(64, 1, 5, 5, generator=generator)
    targets = torch.where(torch.arange(64) % 3 > 0, network(inputs).argmax(1), torch.arange(64) % 5)
    batches = [(inputs, targets)]
    curve = ablation_curve(network, batches, orderings=400, points=7, clamp=clamp, top_k=2)
    estimate = ablation_auc(network, batches, masks=20_000, points=7, clamp=clamp, top_k=2)
    assert estimate.sites == curve.sites
    error = math.hypot(estimate.auc_se, float(curve.auc.std()) / 20)
    assert estimate.auc == pytest.approx(float(curve.auc.mean()), abs=4 * error)
    assert torch.equal(estimate.units_ablated, curve.units_ablated)
    assert estimate.accuracy == pytest.approx(float(curve.accuracy[0, 0]))


def test_masks_hold_the_asked_number_of_units_and_every_set_is_as_likely() -> None:
    masks = Masks(4, (0, 1, 2, 4), images=None, per_image=6, seed=0, device=torch.device("cpu"))
    points, clamped, late = masks.block(0)
    assert points.shape == (6, masks.size)
    assert clamped.shape == (6, masks.size, 4)
    assert late.shape == (6, 1, masks.size, 0)
    assert torch.equal(clamped.sum(-1), torch.tensor([0, 1, 2, 4])[points])
    share = weights(torch.tensor([0, 1, 2, 4]), 4)
    assert share.tolist() == [0.125, 0.25, 0.375, 0.25]
    assert (points == 2).double().mean() == pytest.approx(0.6, abs=1 / masks.size)
    assert (points[:2] == 1).all()  # the first masks of an image lie at its first points: strata
    two = clamped[points == 2].double()
    number = len(two)
    for pair in itertools.combinations(range(4), 2):  # each of 6 with probability 1/6
        found = two[:, list(pair)].all(1).sum()
        assert abs(found - number / 6) < 4.5 * math.sqrt(number * 5 / 36)


def test_variants_of_a_mask_differ_in_late_units_alone_and_every_set_is_as_likely() -> None:
    masks = Masks(6, (0, 2, 3, 6), None, 4, seed=0, device=torch.device("cpu"), late=4, variants=3)
    _, early, late = masks.block(0)
    assert (early.shape, late.shape) == ((4, masks.size, 2), (4, 3, masks.size, 4))
    points = masks.block(0).points
    whole = torch.cat([early.unsqueeze(1).expand(-1, 3, -1, -1), late], dim=-1)
    assert torch.equal(whole.sum(-1), torch.tensor([0, 2, 3, 6])[points].unsqueeze(1).expand(-1, 3, -1))
    for variant in range(3):
        three = whole[:, variant][points == 2].double()
        for chosen in itertools.combinations(range(6), 3):  # each of 20 with probability 1/20
            found = three[:, list(chosen)].all(1).sum()
            assert abs(found - len(three) / 20) < 4.5 * math.sqrt(len(three) * 19 / 400)
    # Two variants with two of four late units each clamp all four between them.
    pairs = late[:, :2].sum(-1).eq(2).all(1)
    assert pairs.any()
    assert late[:, :2].any(1)[pairs].all()


def test_masks_of_an_image_clamp_each_unit_about_equally_often() -> None:
    masks = Masks(64, tuple(range(0, 65, 8)), None, 5, seed=0, device=torch.device("cpu"))
    often = masks.block(0).early.sum(0)
    assert (often.amax(-1) - often.amin(-1)).max() <= 1


@pytest.mark.parametrize("per_image", [1, 2, 5])
def test_mirrored_masks_are_in_pairs_and_every_set_is_as_likely(per_image: int) -> None:
    ablated = torch.tensor([0, 1, 2, 3, 4])
    masks = Masks(4, (0, 1, 2, 3, 4), None, per_image, 0, torch.device("cpu"), late=1)
    points, early, late = masks.block(0)
    whole = torch.cat([early, late.squeeze(1)], dim=-1)
    assert torch.equal(whole.sum(-1), ablated[points])
    pairs = per_image // 2 * 2
    assert torch.equal(whole[1:pairs:2], ~whole[:pairs:2])
    assert points.sort(dim=0).values.double().mean(1).diff().gt(0).all()  # in different parts of the curve
    for point in (1, 2, 3):
        assert (points == point).double().mean() == pytest.approx(1 / 3, abs=per_image / masks.size)
    for size in (1, 2, 3):
        some = whole[points == size].double()
        sets = list(itertools.combinations(range(4), size))
        for chosen in sets:
            found, rate = some[:, list(chosen)].all(1).sum(), 1 / len(sets)
            assert abs(found - len(some) * rate) < 4.5 * math.sqrt(len(some) * rate * (1 - rate))


def test_masks_are_mirrored_where_the_points_are_symmetric(batch: Batch) -> None:
    assert symmetric(torch.tensor([0, 2, 5, 8, 10]), 10)
    assert not symmetric(torch.tensor([0, 2, 5, 10]), 10)
    for points, mirrored in ((range(0, UNITS + 1), True), ((0, 1, 2, UNITS), False)):
        with _prepared(dense(), [batch], masks=120, points=points) as prepared:
            assert prepared.masks.mirrored == prepared.rows.mirrored == mirrored


def test_masks_of_different_images_seeds_and_blocks_differ_and_are_drawn_alike_again() -> None:
    def drawn(seed: int) -> Masks:
        return Masks(64, (0, 32, 64), images=None, per_image=1, seed=seed, device=torch.device("cpu"))

    first, again = drawn(0), drawn(0)
    assert torch.equal(first.block(1).early, again.block(1).early)
    rows = torch.cat([first.block(0).early, first.block(1).early, drawn(1).block(0).early], dim=1)[0]
    assert len(rows.unique(dim=0)) == len(rows)


def test_of_more_images_than_needed_some_are_drawn(batch: Batch) -> None:
    inputs, targets = batch
    batches = list(zip(inputs.split(8), targets.split(8), strict=True))
    few = ablation_auc(dense(), batches, masks=60, masks_per_image=3, points="all")
    assert (few.images, few.masks, few.population) == (20, 60, 60)
    # A third of the images, and masks: the error counts both; of images in general it is larger.
    general = ablation_auc(dense(), batches, masks=60, masks_per_image=3, points="all", population=math.inf)
    assert torch.equal(general.right, few.right)
    assert general.auc_se > few.auc_se
    assert general.accuracy_se == pytest.approx(few.accuracy_se / math.sqrt(1 - 20 / 60))
    p = few.accuracy
    assert general.accuracy_se == pytest.approx(math.sqrt(p * (1 - p) / 19))


@pytest.mark.parametrize(("masks", "each", "images"), [(2000, 34, 60), (240, 5, 60), (235, 5, 47)])
def test_all_images_are_measured_if_that_takes_a_quarter_more_masks_at_most(
    batch: Batch, masks: int, each: int, images: int
) -> None:
    """By hand, of 60 images: 59 would do for 2,000 masks, 48 for 240 masks, and 47 for 235 masks."""
    estimate = ablation_auc(dense(), [batch], masks=masks, masks_per_image=each, points="all")
    assert estimate.images == images
    assert (estimate.accuracy_se == 0) == (images == 60)
    assert ablation_auc(dense(), [batch], masks=2000, points="all").right.shape == (60, 34)


def test_passes_buy_masks(batch: Batch) -> None:
    inputs, targets = batch
    many = [(inputs.repeat(50, 1), targets.repeat(50))]
    # Before the site 24 products (48 operations) and 12 float32 written, 25 operations a byte; behind it 18 and 3.
    whole = 84 + 25 * 60
    behind = (36 + 25 * 12) / whole
    full = behind + 25 * 24 / whole  # clamping takes as long as writing 6 float32
    mask = full / 2  # what the last layer gives for a mask follows from what it gives for its mirror
    plan = plan_auc(dense(), inputs, available=3000, passes=500)
    masks = plan.images * plan.masks_per_image
    assert masks == pytest.approx(500 / mask, rel=0.01)
    assert plan.passes == pytest.approx(plan.images * (1 - behind + full + plan.masks_per_image * mask))
    estimate = ablation_auc(dense(), many, masks=masks)
    assert (estimate.images, estimate.masks, estimate.passes) == (plan.images, masks, plan.passes)
    assert estimate.why == f"since {1 - behind:.0%} of a forward pass lies before the first site"
    assert (plan.method, plan.why, plan.sites) == (estimate.method, estimate.why, estimate.sites)


def test_a_change_is_measured_on_the_same_pairs(batch: Batch) -> None:
    network = dense()
    before = ablation_auc(network, [batch], masks=600)
    still = ablation_auc(network, [batch], masks=600).change_from(before)
    assert all(change == (0, 0) for change in still.values())
    network[2].bias.data[0] += 0.05
    after = ablation_auc(network, [batch], masks=600)
    change = after.change_from(before)
    for name, (value, error) in change.items():
        assert value == pytest.approx(getattr(after, name) - getattr(before, name))
        assert error <= math.hypot(getattr(after, f"{name}_se"), getattr(before, f"{name}_se"))
    assert 0 < change["auc"].se < after.auc_se / 2
    with pytest.raises(BadInput, match="other images, sites, points or masks"):
        ablation_auc(network, [batch], masks=600, seed=1).change_from(before)


def two_sites() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def test_what_is_kept_between_calls_changes_nothing(batch: Batch) -> None:
    network = two_sites()
    repeated = RepeatedEstimate(network, [batch], masks=600, points=5)
    repeated()
    prepared = repeated._kept
    network[2].weight.data.mul_(-1)
    second = repeated()
    assert repeated._kept is prepared
    anew = ablation_auc(network, [batch], masks=600, points=5)
    assert second.passes == anew.passes
    for name in ("right", "points", "intact", "ablated"):
        assert torch.equal(getattr(second, name), getattr(anew, name)), name


def test_a_network_that_changed_is_prepared_anew(batch: Batch) -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.relu, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
            self._deep = False

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.relu(self.first(inputs))
            return self.head(self.relu(self.second(hidden)) if self._deep else hidden)

    network = Growing()
    repeated = RepeatedEstimate(network, [batch], masks=600, points=5)
    assert [site.name for site in repeated().sites] == ["relu"]
    network._deep = True  # no attribute that `structure` sees: the logits tell
    assert [site.name for site in repeated().sites] == ["relu", "relu_1"]
    network.relu = nn.GELU()
    after = repeated()
    anew = ablation_auc(network, [batch], masks=600, points=5)
    assert after.sites == anew.sites
    assert torch.equal(after.right, anew.right)


def test_means_are_taken_at_each_call(batch: Batch) -> None:
    network = two_sites()
    repeated = RepeatedEstimate(network, [batch], masks=600, points=5, clamp="mean")
    repeated()
    network[0].weight.data.mul_(-1)
    assert torch.equal(repeated().right, ablation_auc(network, [batch], masks=600, points=5, clamp="mean").right)


def test_a_network_that_diverged_is_refused(batch: Batch) -> None:
    network = two_sites()
    repeated = RepeatedEstimate(network, [batch], masks=600, points=5)
    repeated()
    network[0].weight.data.fill_(math.nan)
    with pytest.raises(BadInput, match="not finite"):
        repeated()


def test_variants_leave_the_mean_as_it_is_and_make_the_error_smaller(batch: Batch) -> None:
    network, (inputs, _) = two_sites(), batch
    targets = network(inputs).argmax(1)
    many = [(inputs.repeat(20, 1), targets.repeat(20))]
    estimate = ablation_auc(network, many, masks=6000, points=5)
    assert ((estimate.right > 0) & (estimate.right < 1)).any()
    once = ablation_auc(network, many, masks=6000, points=5, method="reference", masks_per_image=5)
    assert set(once.right.unique().tolist()) == {0.0, 1.0}
    assert (estimate.images, estimate.masks) == (once.images, once.masks)
    curve = ablation_curve(network, [(inputs, targets)], orderings=400, points=5)
    error = math.hypot(estimate.auc_se, float(curve.auc.std()) / 20)
    assert estimate.auc == pytest.approx(float(curve.auc.mean()), abs=4 * error)
    assert estimate.auc_se < once.auc_se


def test_parts_of_several_processes_are_one_estimate(batch: Batch) -> None:
    inputs, targets = batch
    parts = [
        ablation_auc(dense(), [(inputs[i::2], targets[i::2])], masks=300, seed=i, population=math.inf) for i in (0, 1)
    ]
    whole = AblationEstimate.joined(parts)
    assert (whole.images, whole.masks, whole.population) == (60, 600, math.inf)
    assert whole.passes == pytest.approx(sum(part.passes for part in parts))
    assert whole.cluster.unique().tolist() == list(range(60))
    assert whole.accuracy == pytest.approx(sum(part.accuracy for part in parts) / 2)
    assert whole.auc == pytest.approx(sum(part.auc for part in parts) / 2, abs=0.01)
    assert whole.auc_se == pytest.approx(math.hypot(*(part.auc_se for part in parts)) / 2, rel=0.1)


def test_images_that_depend_on_their_batch_share_its_masks() -> None:
    network = mixing()
    inputs = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    targets = network(inputs).argmax(1)
    batches = list(zip(inputs.split(6), targets.split(6), strict=True))
    estimate = ablation_auc(network, batches, masks=600, points=5)
    assert estimate.method == "reference"
    assert "depends on the other images" in estimate.why
    assert estimate.cluster.tolist() == torch.arange(20).repeat_interleave(6).tolist()
    masks = Masks(8, (0, 2, 4, 6, 8), 20, estimate.right.shape[1], 0, torch.device("cpu"))
    right = []
    for number, (images, classes) in enumerate(batches):
        hidden = network[:3](images)
        clamped = masks.block(0).early[:, number]
        right.append(torch.stack([correct(network[3](hidden * ~mask), classes) for mask in clamped], dim=1))
    assert torch.equal(estimate.right, torch.cat(right).float())
    curve = ablation_curve(network, batches, orderings=40, points=5)
    error = math.hypot(estimate.auc_se, float(curve.auc.std()) / math.sqrt(40))
    assert estimate.auc == pytest.approx(float(curve.auc.mean()), abs=4 * error)


def test_a_stream_is_read_once_and_all_of_it_is_measured(batch: Batch) -> None:
    def stream() -> Iterator[Batch]:
        yield from zip(batch[0].split(8), batch[1].split(8), strict=True)

    estimate = ablation_auc(dense(), stream(), masks_per_image=4)
    assert (estimate.images, estimate.masks, estimate.population) == (60, 240, 60)


def test_one_unit_has_two_points_and_nothing_to_draw(batch: Batch) -> None:
    network = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 3))
    targets = network(batch[0]).argmax(1)
    estimate = ablation_auc(network, [(batch[0], targets)])
    curve = ablation_curve(network, [(batch[0], targets)], orderings=1)
    assert estimate.masks == 0
    assert estimate.auc == pytest.approx(float(curve.auc))
    assert estimate.auc_se == 0


def test_what_is_not_defined_is_nan() -> None:
    network = dense()
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    wrong = (network(inputs).argmax(1) + 1) % CLASSES
    estimate = ablation_auc(network, [(inputs, wrong)], masks=600)
    assert estimate.accuracy == 0
    assert math.isnan(estimate.auc_normalized)
    assert math.isnan(estimate.auc_normalized_se)
    assert math.isnan(estimate.auc_corrected)
    assert estimate.auc > 0


def test_a_network_with_a_bypass_is_run_with_all_units_clamped() -> None:
    class Bypassed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = dense()
            self.around = nn.Linear(4, CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs) + self.around(inputs)

    network = Bypassed()
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    targets = network(inputs).argmax(1)
    estimate = ablation_auc(network, [(inputs, targets)], masks=600)
    curve = ablation_curve(network, [(inputs, targets)], orderings=1)
    assert float(estimate.curve[-1]) == pytest.approx(float(curve.accuracy[0, -1]))


def test_as_a_table(batch: Batch) -> None:
    estimate = ablation_auc(dense(), [batch], masks=600)
    frame = estimate.to_frame()
    assert list(frame) == ["units_ablated", "fraction_ablated", "accuracy", "accuracy_se"]
    assert frame["accuracy"].tolist() == estimate.curve.tolist()
    assert frame["fraction_ablated"].tolist() == pytest.approx([k / 6 for k in range(7)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masks": 0}, "masks=0: a whole number"),
        ({"masks": 10}, "masks=10: too few for 7 points; at least 20"),
        ({"masks_per_image": 0}, "masks_per_image=0"),
        ({"population": -1}, "population=-1: a number above 0"),
        ({"population": 50}, "population=50: must be at least the number of images in batches, 60"),
        ({"seed": -1}, "seed=-1"),
        ({"method": "incremental"}, "method='incremental': one of auto, prefix, reference"),
        ({"points": [1, 2]}, "points: an area needs points from 0 to 6"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(batch: Batch, settings: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        ablation_auc(dense(), [batch], **settings)
    assert "\n" not in str(error.value)


def test_images_of_a_loader_that_can_be_read_once_are_counted(batch: Batch) -> None:
    class Stream(DataLoader):
        def __iter__(self):
            self.left = self.left if hasattr(self, "left") else super().__iter__()
            return self

        def __next__(self):
            return next(self.left)

    loader = Stream(TensorDataset(*batch), batch_size=7)
    with pytest.raises(BadInput, match="population=50: must be at least the number of images in batches, 60"):
        ablation_auc(dense(), loader, population=50)


def test_the_error_of_shared_masks_is_that_of_few_masks(batch: Batch) -> None:
    """One batch whose images share 50 masks: the error is that between masks, as over many seeds."""
    network = mixing()
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    targets = network(inputs).argmax(1)
    for batches in ([(inputs, targets)], list(zip(inputs.split(30), targets.split(30), strict=True))):
        estimates = [
            ablation_auc(network, batches, masks_per_image=50, masks=3000, points=5, seed=seed) for seed in range(60)
        ]
        spread = torch.tensor([estimate.auc for estimate in estimates]).std()
        errors = torch.tensor([estimate.auc_se for estimate in estimates]).mean()
        # A standard deviation of 60 is known to 9 %. Masks balance each other, which their differences do not show.
        assert 0.75 < errors / spread < 2.3


def test_the_error_of_one_batch_alone_counts_which_images_were_drawn() -> None:
    """Its images share their masks, so there is one cluster, whose variance from others cannot be seen."""
    network = mixing()
    estimates = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        inputs, targets = torch.randn(60, 4, generator=generator), torch.randint(3, (60,), generator=generator)
        settings = {"masks_per_image": 20, "masks": 1200, "points": 5, "seed": seed, "population": math.inf}
        estimates.append(ablation_auc(network, [(inputs, targets)], **settings))
    for name in ("auc", "accuracy"):
        spread = torch.tensor([getattr(estimate, name) for estimate in estimates]).std()
        errors = torch.tensor([getattr(estimate, f"{name}_se") for estimate in estimates]).mean()
        assert 0.75 < errors / spread < 1.5  # a standard deviation of 60 is known to 9 %


def test_images_of_an_untraced_network_stay_in_their_batches(batch: Batch) -> None:
    (inputs, targets), seen = batch, []
    ablation_auc(Untraceable(seen.append), list(zip(inputs.split(4), targets.split(4), strict=True)), masks=600)
    assert max(seen) <= 8  # 4 at a time, and the 8 on which sites are looked for


def test_too_few_masks_for_known_images_are_refused_first(batch: Batch) -> None:
    with pytest.raises(BadInput, match=r"masks_per_image=1: 10 images .* too few for 7 points"):
        ablation_auc(dense(), [(batch[0][:10], batch[1][:10])], masks=100, masks_per_image=1)


def crops(batch: list[Batch]) -> Batch:
    """Each image three times, one of them by itself."""
    inputs, targets = (torch.stack(part) for part in zip(*batch, strict=True))
    return torch.cat([inputs, inputs + 0.1, inputs - 0.1]), targets.repeat(3)


def sorted_by_class(batch: Batch) -> TensorDataset:
    order = batch[1].argsort()
    return TensorDataset(batch[0][order], batch[1][order])


@pytest.mark.parametrize("by", ["collate_fn", "batch_to_xy"])
def test_a_loader_that_makes_more_images_than_it_draws_is_measured_whole(batch: Batch, by: str) -> None:
    images, network = sorted_by_class(batch), dense()
    if by == "collate_fn":
        loader, settings = DataLoader(images, 20, collate_fn=crops), {}
    else:
        loader = DataLoader(images, 20)
        settings = {"batch_to_xy": lambda pair: (pair[0].repeat(3, 1), pair[1].repeat(3))}
    whole = ablation_curve(network, loader, orderings=1, points=[0, UNITS], **settings)
    estimate = ablation_auc(network, loader, masks=60, points=5, masks_per_image=1, **settings)
    assert estimate.images == 3 * IMAGES
    assert estimate.accuracy == whole.accuracy[0, 0]
    repeated = RepeatedEstimate(network, loader, masks=60, points=5, **settings)
    first, kept = repeated(), repeated._kept
    assert repeated().auc == first.auc
    assert repeated._kept is kept


def test_fewer_images_than_are_drawn_are_measured_whole(batch: Batch) -> None:
    loader = DataLoader(TensorDataset(*batch), 20)
    settings = {"batch_to_xy": lambda pair: (pair[0][::2], pair[1][::2])}
    estimate = ablation_auc(dense(), loader, masks=20, points=5, masks_per_image=1, **settings)
    assert estimate.images == IMAGES // 2


def test_batches_that_grow_are_refused_where_images_are_drawn(batch: Batch) -> None:
    loader, numbers = DataLoader(TensorDataset(*batch), 20), itertools.count()

    def grow(pair: Batch) -> Batch:
        return pair if next(numbers) % 4 < 2 else (pair[0].repeat(3, 1), pair[1].repeat(3))

    with pytest.raises(BadInput, match="hold more than the 60 images that their sampler counts"):
        ablation_auc(dense(), loader, masks=20, points=5, masks_per_image=1, batch_to_xy=grow)


class Dropping(nn.Module):
    """Dropout is never off, so images are answered batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.network = dense()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network[2](nn.functional.dropout(self.network[1](self.network[0](inputs)), 0.3))


@pytest.mark.parametrize("make", [mixing, Dropping])
@pytest.mark.parametrize("batches", [1, 3, 20])
@pytest.mark.parametrize("form", ["list", "loader", "batch_to_xy"])
def test_few_batches_of_a_network_that_mixes_get_masks_at_each_point(
    batch: Batch, make: Callable[[], nn.Module], batches: int, form: str
) -> None:
    inputs, targets = batch
    size, network, settings = IMAGES // batches, make(), {}
    given = list(zip(inputs.split(size), targets.split(size), strict=True))
    if form != "list":
        given = DataLoader(TensorDataset(inputs, targets), size)
    if form == "batch_to_xy":
        settings["batch_to_xy"] = tuple
    estimate = ablation_auc(network, given, masks=200, points="all", **settings)
    assert estimate.images == IMAGES
    assert len(estimate.points.unique()) == len(estimate.units_ablated) - 2


def test_masks_that_a_mixing_network_cannot_spread_are_refused_first(batch: Batch) -> None:
    network = mixing()
    passes = []
    network.register_forward_hook(lambda *_: passes.append(1))
    loader = DataLoader(TensorDataset(*batch), 20, collate_fn=lambda pairs: (passes.append("read"), crops(pairs))[1])
    with pytest.raises(
        BadInput, match=r"^masks_per_image=2: 3 batches .* too few for 9 points; all images of a batch sh"
    ):
        ablation_auc(network, loader, masks=1000, points="all", masks_per_image=2)
    assert passes.count("read") == 1  # the first batch, to find sites


def test_the_floor_is_that_of_each_shape_of_images() -> None:
    """With all units clamped an image of five tokens gives class 1, one of twenty gives class 0."""

    class Summing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act, self.last = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)
            with torch.no_grad():
                self.last.weight.mul_(0.1)
                self.last.bias.copy_(torch.tensor([0.1, 0.0]))
            self.shift = nn.Parameter(torch.tensor([0.0, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.act(self.first(x))).sum(1) + self.shift

    network = Summing()
    batches = [(torch.randn(20, length, 4), torch.full((20,), int(length < 10))) for length in (5, 20, 5, 20)]
    batches[3][1][:10] = 1
    floor = 70 / 80  # by hand
    curve = ablation_curve(network, batches, orderings=1, points="all")
    assert curve.accuracy[0, -1] == floor
    for method in ("prefix", "reference"):
        estimate = ablation_auc(network, batches, masks=400, points="all", method=method)
        assert estimate.method == method
        assert estimate.curve[-1] == floor
    repeated = RepeatedEstimate(network, batches, masks=400, points="all")
    assert repeated().curve[-1] == repeated().curve[-1] == floor
