"""What the callback's defaults rest on: variances that are known come out, and the document holds what was measured."""

from math import isnan
from statistics import fmean

import pandas as pd
import pytest
import torch

from single_directions import BadInput, ablation_curve
from single_directions.benchmark.defaults import DEFAULT, SETTINGS, observed, page, peaks, precision, watched
from single_directions.benchmark.precision import Spread, areas
from single_directions.networks import MLP
from single_directions.runs.config import conf_folder
from single_directions.runs.target import composed

EPOCHS = 22


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


@pytest.fixture(scope="module")
def watch():
    overrides = ["experiment=early_stopping", "data=digits", "data.train_samples=200", "data.test_samples=100"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("single_directions.benchmark.defaults.TIMED_EVERY", EPOCHS)
        return watched(
            composed([*overrides, "network.hidden=[50,50]", f"trainer.max_epochs={EPOCHS}"], conf_folder()), 6
        )


def test_document_holds_what_was_measured(watch):
    assert len(watch.areas) == EPOCHS
    text = page(
        [watch], pd.DataFrame(), **dict.fromkeys(["command", "seeds", "training", "machine", "torch", "date"], "x")
    )
    table = precision([watch]).set_index(["orderings", "points", "images"])
    assert list(table.index) == list(SETTINGS)
    assert (table["AUC ±"] > 0).all()
    assert (table["cost"] > 0).all()
    few, many = table.loc[(1, *DEFAULT[1:])], table.loc[(20, *DEFAULT[1:])]
    assert few["change in 1 ±"] > many["change in 1 ±"]
    assert table.loc[(5, 101, 2000), "by points"] == 0
    assert table["seen in 10"].isna().tolist() == [orderings >= 6 for orderings, _, _ in SETTINGS]
    assert table["seen in 10"].dropna().between(0, 1).all()
    assert "nan" not in text
    assert f"| 5 | 21 | 2000 | {table.loc[DEFAULT, 'AUC ±']:.2g} |" in text
    [peak] = peaks([watch]).to_dict("records")
    aucs = [epoch[101].mean().item() for epoch in watch.areas]
    assert peak["peak"] == 1 + max(range(EPOCHS), key=aucs.__getitem__)
    assert len(peak["by 5 orderings"].split(", ")) == 1  # there are 6


def test_changes_of_runs_are_read_from_their_metrics(tmp_path):
    aucs = [0.1 * epoch for epoch in range(12)] + [0.9]
    pd.DataFrame({"epoch": range(1, 14), "ablation/auc": aucs}).to_csv(tmp_path / "metrics.csv")
    [run] = observed([tmp_path]).to_dict("records")
    assert (run["epochs"], run["peak"]) == (13, 12)
    assert run["fallen since"] == pytest.approx(0.2)
    assert run["change in 1"] == pytest.approx(0.1)
    # Measured in epochs 2, 4, ..., 22 of 23 alone, rising by 0.1 in two epochs: no two lie 1 epoch apart.
    aucs = [0.05 * epoch if epoch % 2 == 0 else None for epoch in range(1, 24)]
    pd.DataFrame({"epoch": range(1, 24), "ablation/auc": aucs}).to_csv(tmp_path / "metrics.csv")
    [run] = observed([tmp_path]).to_dict("records")
    assert (run["epochs"], run["peak"], run["fallen since"]) == (23, 22, 0)
    assert run["change in 10"] == pytest.approx(0.5)
    assert isnan(run["change in 1"])
    pd.DataFrame({"epoch": [1]}).to_csv(tmp_path / "metrics.csv")
    with pytest.raises(BadInput, match="no run that measured its AUC"):
        observed([tmp_path])
