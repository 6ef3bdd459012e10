"""What the callback's defaults rest on: variances that are known come out, and the document holds what was measured."""

from pathlib import Path
from statistics import fmean

import pytest
import torch
from rounding import differences

from single_directions import BadInput, ablation_curve
from single_directions.benchmark import watch as watching
from single_directions.benchmark.defaults import DEFAULT, page
from single_directions.benchmark.measured import Measured, error, stopped
from single_directions.benchmark.precision import Spread, areas
from single_directions.benchmark.resolution import choice, falls, kinds, peaks, precision, seen, turned
from single_directions.benchmark.watch import POINTS, SETTINGS, Watched, watch
from single_directions.networks import MLP

DOCUMENT = Path(__file__).parents[2] / "docs" / "defaults.md"


def test_variances_of_sums_are_those_of_their_parts():
    """Orderings add -1, 0, 1 (variance 1), portions of 50 images 0, 2 (variance 2)."""
    spread = Spread.of(torch.tensor([[-1.0], [0.0], [1.0]]) + torch.tensor([[0.0, 2.0]]), portion=50)
    assert (spread.orderings, spread.images, spread.rest) == pytest.approx((1, 100, 0))
    assert spread.error(4, 400) == pytest.approx((1 / 4 + 100 / 400) ** 0.5)


def test_variance_that_belongs_to_neither_is_the_rest():
    """Of [[1, -1], [-1, 1]] all means are 0: the sum of squares, 4, over (2 - 1) (2 - 1) degrees of freedom."""
    spread = Spread.of(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), portion=10)
    assert (spread.orderings, spread.images, spread.rest) == (0, 0, 40)
    assert spread.error(2, 20) == 1


def test_error_is_that_of_means_over_draws():
    """The spread over many drawn data of the mean over 4 orderings and 300 images."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    draws = [0.3 * draw(4, 1) + 0.2 * draw(1, 6) + 0.4 * draw(4, 6) for _ in range(400)]
    errors = [Spread.of(areas, portion=50).error(4, 300) for areas in draws]
    spread = torch.stack([areas.mean() for areas in draws]).std().item()
    assert fmean(error**2 for error in errors) ** 0.5 == pytest.approx(spread, rel=0.1)


def test_areas_are_those_of_curves():
    torch.manual_seed(0)
    network = MLP((1, 8, 8), 10, hidden=(13, 7))
    images = torch.rand(60, 1, 8, 8), torch.randint(10, (60,))
    found = areas(network, images, orderings=3, points=(3, 5, 9), portion=20)
    for points, areas_at in found.items():
        assert areas_at.shape == (3, 3)
        curve = ablation_curve(network, [images], orderings=3, points=points)
        assert areas_at.mean(1).tolist() == pytest.approx(curve.auc.tolist())


def made(costs=None):
    """A training that rises by 0.05 an epoch to 0.5 after 11, then falls by k ** 2 / 10,000 in k epochs, to the 36th.

    Orderings differ by 0.001 more with every epoch, half of them either way; 11 points are off by 0.01.
    """
    auc = [0.05 * epoch for epoch in range(11)] + [0.5 - k**2 / 10_000 for k in range(1, 26)]
    tilt = torch.tensor([0.001, -0.001], dtype=torch.float64).repeat(20)
    by_ordering = torch.tensor(auc, dtype=torch.float64)[:, None] + torch.arange(36)[:, None] * tilt
    whole = by_ordering[..., None].expand(-1, -1, 4)
    costs = costs or {setting: 0.1 * setting[0] * setting[2] for setting in SETTINGS}
    return Watched("made", {points: whole + 0.01 * (points == 11) for points in POINTS}, costs)


@pytest.fixture(scope="module")
def measured():
    return Measured.of([made()], 250, DEFAULT, training="made")


def test_kinds_of_changes(measured):
    assert peaks(measured) == {1: 11}
    assert turned(measured) == [1]
    found = {kind: list(rows["epoch"]) for kind, rows in kinds(measured).items()}
    assert found["rise in 1"] == list(range(2, 12))
    assert found["rise in 10"] == [11]
    assert found["fall in 5"] == list(range(16, 37))
    assert found["peak to 20 later"] == [31]


def test_errors_and_what_they_let_see(measured):
    """Of a change over L epochs: the orderings' variance is L ** 2 / 1,000,000 (of 39 of 40), over so many."""
    deviation = 0.001 * (40 / 39) ** 0.5
    falling = kinds(measured)["fall in 5"]
    assert error(falling, (4, 21, 1000)).tolist() == pytest.approx([5 * deviation / 2] * 21, rel=1e-3)
    table = precision(measured).set_index(["orderings", "points", "images"])
    assert list(table.index) == list(SETTINGS)
    assert table.loc[(10, 21, 1000), "peak to 10 later ±"] == pytest.approx(10 * deviation / 10**0.5, rel=1e-3)
    assert table.loc[(10, 11, 1000), "by points"] == pytest.approx(0.01)
    assert table.loc[(10, 21, 1000), "by points"] == 0
    assert table.loc[(10, 21, 1000), ["cost", "of an epoch"]].tolist() == pytest.approx([1000, 1 / 60])
    shares = seen(measured).set_index(["orderings", "points", "images"])
    assert max(orderings for orderings, _, _ in shares.index) == 20  # of 40
    # By 1 ordering 0.05 is over twice the error, 0.002, in 1 epoch; a fall of 0.01 is not over 0.02 in 10.
    assert shares.loc[(1, 21, 250), ["rise in 1", "peak to 10 later"]].tolist() == [1, 0]
    # From k epochs after the peak to 5 later it falls by 0.001 k + 0.0025; by 1 ordering 0.01013 is needed.
    assert shares.loc[(1, 21, 250), "fall in 5"] == pytest.approx(
        sum(0.001 * k + 0.0025 > 0.01013 for k in range(21)) / 21
    )


def test_when_a_fall_is_seen_for_good(measured):
    """By 1 ordering k ** 2 / 10,000 is over 0.002025 k from k = 21 on; by 10 over 0.00064 k from 7 on."""
    for setting, after in (((1, 21, 250), 21), ((10, 21, 250), 7)):
        [fall] = falls(measured, setting).to_dict("records")
        assert (fall["training"], fall["peak"], fall["seen for good after"]) == (1, 11, after)
        assert fall["AUC"] == pytest.approx(0.5)
        assert fall["fallen by 10 later"] == pytest.approx(0.01)
        assert fall["at the end"] == pytest.approx(0.0625)
        # 10 later the orderings' deviation is 0.01013, the fall 0.01: 0.005 takes (0.01013 / 0.005) ** 2 = 4.1 of them.
        assert fall["orderings to see 10 later"] == 5


def test_stopping_by_parts_of_what_was_measured():
    one, other = [0.0, 3, 1, 1, 1, 1], [0.0, 1, 2, 4, 0, 0]  # in the mean 0, 2, 1.5, 2.5, 0.5, 0.5
    areas = torch.tensor([one, other], dtype=torch.float64).T[..., None]
    training = Watched("made", dict.fromkeys(POINTS, areas), {})
    assert stopped(training, 250, (1, 21, 250), patience=2) == {
        **{"kept": 4, "ended": 6, "kept_by_each": [2, 4], "ended_by_each": [4, 6], "lost": [0.5, 0.0]}
    }


def test_choice_is_the_least_error_within_the_budget():
    free = made(dict.fromkeys(SETTINGS, 1.0))
    assert choice(Measured.of([free], 250, DEFAULT)) == (40, 21, 500)  # images add nothing here: the first of equals
    dear = made({setting: 1.0 if setting[0] < 10 else 1e5 for setting in SETTINGS})
    assert choice(Measured.of([dear], 250, DEFAULT)) == (5, 21, 500)


def test_training_is_watched(monkeypatch, tmp_path):
    monkeypatch.setattr(watching, "TIMED_AT", 2)
    overrides = "experiment=early_stopping data=digits data.train_samples=200 data.test_samples=100"
    found = watch(f"{overrides} network.hidden=[50,50] trainer.max_epochs=3", orderings=4, images=100, portion=25)
    assert {points: areas.shape for points, areas in found.areas.items()} == dict.fromkeys(POINTS, (3, 4, 4))
    assert found.auc[2] > found.auc[0]
    assert set(found.costs) == set(SETTINGS)
    assert found.costs[40, 21, 2000] > found.costs[1, 21, 250] > 0


def test_trainings_watched_before_are_read(monkeypatch, tmp_path):
    monkeypatch.setattr(watching, "watch", lambda training: made())
    first = watching.watched("a=1 b=2", tmp_path / "measured")
    monkeypatch.delattr(watching, "watch")
    again = watching.watched("a=1 b=2", tmp_path / "measured")
    assert torch.equal(again.auc, first.auc)
    assert again.costs == first.costs
    monkeypatch.setattr(watching, "ORDERINGS", 41)
    with pytest.raises(BadInput, match=r"a=1,b=2.pt: was measured with other settings; remove it"):
        watching.watched("a=1 b=2", tmp_path / "measured")


def test_document_is_what_the_measurements_make():
    measured = Measured.read(DOCUMENT)
    assert differences(page(measured), DOCUMENT.read_text()) == []
    assert choice(measured) == DEFAULT


def test_measurements_survive_being_written(measured, tmp_path):
    about = dict.fromkeys(["command", "date", "hardware", "threads", "torch"], "x")
    measured = Measured.of([made()], 250, DEFAULT, training="made", **about)
    measured.write(tmp_path / "page.md")
    again = Measured.read(tmp_path / "page.md")
    assert page(again) == page(measured)
    assert "nan" not in page(again)
