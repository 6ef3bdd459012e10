"""What a figure shows, and that the same figure is the same file."""

import numpy as np
import pytest

from single_directions.report.figures import ablation_figure, corruption_colour, save
from single_directions.report.table import read_tables


@pytest.fixture
def curves(made):
    made(corruption=0, seed=0, auc=(0.4, 0.6))
    made(corruption=0, seed=1, auc=(0.5, 0.9))
    tables = read_tables([made(corruption=1, auc=(0.2, 0.2))])
    return tables.final_curves.merge(tables.runs[["run", "corruption"]])


def test_lines_are_means_and_bands_deviations_over_orderings(curves):
    [axes] = ablation_figure(curves, 0.1, "two levels").axes
    shown = {line.get_label(): line.get_ydata() for line in axes.lines if line.get_label().endswith("%")}
    assert shown["0 %"] == pytest.approx([1.1, 0.1])  # the mean of 0.7, 1.1, 0.9 and 1.7
    assert shown["100 %"] == pytest.approx([0.3, 0.1])
    thin = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 0.5]
    assert sorted(thin) == pytest.approx([0.9, 1.3])  # two networks; the lone one has no line of its own
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    deviation = np.sqrt((0.08 + 0.32) / 2)  # variances of (0.7, 1.1) and (0.9, 1.7)
    assert (band.max(), band.min()) == pytest.approx((1.1 + deviation, 0.1))


def test_axes_and_legend_are_labelled(curves):
    figure = ablation_figure(curves, 0.1, "two levels")
    [axes] = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("fraction of units ablated", "accuracy on training images")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0 %", "100 %"]
    assert axes.lines[0].get_ydata()[0] == 0.1  # chance


def test_colours_of_levels_differ_and_do_not_depend_on_the_others():
    colours = {tuple(corruption_colour(level / 5)) for level in range(6)}
    assert len(colours) == 6


def test_same_figure_is_the_same_file(curves, tmp_path):
    files = [save(ablation_figure(curves, 0.1, "two levels"), tmp_path / name / "figure_1a") for name in ("a", "b")]
    assert [file.name for file in files[0]] == ["figure_1a.png", "figure_1a.svg"]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    assert files[0][0].stat().st_size > 10_000
