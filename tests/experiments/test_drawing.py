"""What a figure shows, and that the same figure is the same file."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from single_directions.experiments.drawing.ablation import Line, ablation_figure
from single_directions.experiments.drawing.dots import Column, Row, dots_figure
from single_directions.experiments.drawing.ensemble import leverage_figure, scatter_figure
from single_directions.experiments.drawing.style import corruption_colour, save
from single_directions.experiments.drawing.training import correlation_figure, training_figure


def curves(*starts, end=0.1):
    """A network for each tuple of starts, with an ordering for each start: straight lines down to `end`."""
    rows = [
        {"run": str(network), "ordering": ordering, "fraction_ablated": fraction, "accuracy": accuracy}
        for network, own in enumerate(starts)
        for ordering, start in enumerate(own)
        for fraction, accuracy in ((0.0, start), (1.0, end))
    ]
    return pd.DataFrame(rows)


def thick(axes, label):
    return next(line.get_ydata() for line in axes.lines if line.get_label() == label)


@pytest.fixture
def lines():
    return [
        Line("two networks", curves((0.7, 1.1), (0.9, 1.7)), "k"),
        Line("one", curves((0.3, 0.3)), "r", dotted=True),
    ]


def test_lines_are_means_and_bands_deviations_over_orderings_or_all_curves(lines):
    [axes] = ablation_figure(lines, 0.1, "").axes
    assert thick(axes, "two networks") == pytest.approx([1.1, 0.1])  # the mean of 0.7, 1.1, 0.9 and 1.7
    assert thick(axes, "one") == pytest.approx([0.3, 0.1])
    thin = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 0.5]
    assert sorted(thin) == pytest.approx([0.9, 1.3])  # the lone network has no line of its own
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    deviation = np.sqrt((0.08 + 0.32) / 2)  # variances of (0.7, 1.1) and (0.9, 1.7)
    assert (band.max(), band.min()) == pytest.approx((1.1 + deviation, 0.1))
    [axes] = ablation_figure(lines, 0.1, "", spread="curves").axes
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(1.1 + np.std([0.7, 1.1, 0.9, 1.7], ddof=1))


def test_accuracy_lost_starts_at_zero_wherever_a_network_starts(lines):
    [axes] = ablation_figure(lines, 0.1, "", drop=True).axes
    assert thick(axes, "two networks") == pytest.approx([0, 1.0])
    assert thick(axes, "one") == pytest.approx([0, 0.2])
    assert not axes.texts  # chance would be at 1.0 for one and at 0.2 for the other
    assert axes.get_ylabel() == "training accuracy lost"


def test_axes_chance_and_legend_are_labelled(lines):
    figure = ablation_figure(lines, 0.1, "here", legend="networks", verticals=[(0.25, "b")])
    [axes] = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("fraction of units ablated", "accuracy on training images")
    assert figure.get_suptitle() == "here"
    assert [text.get_text() for text in axes.texts] == ["chance"]
    assert axes.texts[0].xy[0] > 0.25  # beyond the verticals
    assert axes.lines[-1].get_ydata()[0] == 0.1
    assert axes.lines[0].get_xdata()[0] == 0.25
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["two networks", "one"]
    assert legend.get_title().get_text() == "networks"


def lab(colour, seen):
    """A colour's place in CIELAB, as by someone whose cones mix linear RGB like `seen`."""
    linear = np.array([value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour[:3]])
    xyz = XYZ @ np.clip(seen @ linear, 0, 1) / XYZ.sum(1)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
DEUTERANOPE = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
PROTANOPE = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
"""Machado, Oliveira and Fernandes 2009."""


@pytest.mark.parametrize("seen", [np.eye(3), DEUTERANOPE, PROTANOPE], ids=["all", "deuteranope", "protanope"])
def test_levels_of_corruption_are_told_apart_by_the_colour_blind_and_in_grey(seen):
    colours = [lab(corruption_colour(level / 5), seen) for level in range(6)]
    steps = np.diff(colours, axis=0)
    assert steps[:, 0].min() > 7  # each is lighter than the one before: in grey, and for all
    distances = np.linalg.norm(steps, axis=1)
    assert distances.min() > 10
    assert distances[2:].min() > 25  # above 40 %, where curves lie close
    assert colours[-1][0] < 85  # still dark enough on white


def test_lines_of_several_colours_have_marks_of_their_own_and_the_first_is_on_top():
    lines = [Line(str(level), curves((0.7, 0.9)), corruption_colour(level / 2)) for level in range(3)]
    lines.append(Line("dotted", curves((0.7, 0.9)), lines[0].colour, dotted=True))
    [axes] = ablation_figure([lines[3], *lines[:3]], 0.1, "").axes
    drawn = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(drawn) == ["0", "1", "2", "dotted"]
    assert np.diff([line.get_zorder() for line in drawn.values()]).max() < 0
    assert len({line.get_marker() for line in drawn.values()}) == 3
    assert drawn["dotted"].get_marker() == drawn["0"].get_marker()
    bands = [band.get_zorder() for band in axes.collections]
    assert max(bands) < min(line.get_zorder() for line in drawn.values())
    marked = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [line.get_color() for line in marked] == [line.get_color() for line in drawn.values()]


def test_rows_have_dots_a_mean_and_an_interval_if_there_is_one():
    rows = [Row([0.2, 0.4], 0.3, -0.1, 0.5, "k"), Row([0.7], 0.7, np.nan, np.nan, "r", hollow=True)]
    columns = [Column(rows, "AUC", (0, 1), [(0.6, "the paper's")]), Column([None, rows[1]], "apart")]
    axes, apart = dots_figure(["several", "no dropout, true labels"], columns, "").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["several", "no dropout,\ntrue labels"]
    assert [line.get_ydata()[0] for line in apart.lines if line.get_marker() == "D"] == [1]
    dots = [dots.get_offsets()[:, 0].tolist() for dots in axes.collections]
    assert dots == [[0.2, 0.4], [0.7]]
    intervals = [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 1.6]
    assert intervals == [[0.0, 0.5]]  # an AUC is not below 0
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"] == [0.3, 0.7]
    assert axes.texts[0].get_text() == "the paper's"


def test_groups_of_networks_are_told_apart():
    networks = pd.DataFrame({"generalization_error": [0.1, 0.2, 0.3], "auc_normalized": [0.5, 0.4, 0.3]})
    networks["auc_normalized_se"] = np.nan
    [axes] = scatter_figure(networks, pd.Series(["a", "b", "a"]), "cluster", "").axes
    marks = [group.lines[0] for group in axes.containers]
    assert [mark.get_xydata().tolist() for mark in marks] == [[[0.1, 0.5], [0.3, 0.3]], [[0.2, 0.4]]]
    assert len({mark.get_color() for mark in marks}) == len({mark.get_marker() for mark in marks}) == 2
    assert not scatter_figure(networks, None, "", "").legends


def test_bars_are_standard_errors():
    networks = pd.DataFrame({"generalization_error": [0.1, 0.2], "auc_normalized": [0.5, 0.4]})
    [axes] = scatter_figure(networks.assign(auc_normalized_se=[0.1, np.nan]), None, "", "").axes
    bars = [bar[:, 1] for bar in axes.collections[0].get_segments()]
    assert [np.ptp(bar) / 2 for bar in bars] == pytest.approx([0.1, 0])
    assert [bar.mean() for bar in bars] == pytest.approx([0.5, 0.4])


def test_networks_that_matter_most_are_named_and_do_not_cover_each_other():
    without = [-0.5, -0.5, -0.5, -0.9, -0.1, -0.8]
    [axes] = leverage_figure(list("abcdef"), without, -0.5, "").axes
    assert {text.get_text() for text in axes.texts} == {"d", "e", "f"}
    [dots] = [collection for collection in axes.collections if len(collection.get_offsets()) == 6]
    assert dots.get_offsets()[:, 1].tolist() == sorted(without)
    alike = leverage_figure(list("abcd"), [0.5, 0.5, 0.5, 0.1], 0.2, "").axes[0]
    heights = sorted(text.xy[1] for text in alike.texts)
    assert min(np.diff(heights)) > 0


@pytest.fixture
def trainings():
    """Two trainings of five epochs: test loss least at 3 and AUC highest at 4 in the mean."""
    losses = [9.0, 2.0, 1.0, 1.2, 1.5]
    areas = [0.1, 0.2, 0.3, 0.4, 0.2]
    one = pd.DataFrame({"epoch": range(1, 6), "train/loss": [8, 2, 0.9, 0.5, 0.2], "test/loss": losses})
    one["ablation/auc_normalized"] = areas
    return pd.concat([one.assign(run="a"), one.assign(run="b")], ignore_index=True)


def test_turns_of_test_loss_and_auc_are_marked_and_the_divergence_is_in_view(trainings):
    figure = training_figure(trainings, "")
    losses, areas = figure.axes
    [least] = [line for line in losses.lines if line.get_label() == "least test loss"]
    [highest] = [line for line in areas.lines if line.get_label() == "highest normalized AUC"]
    assert (least.get_xdata()[0], least.get_ydata()[0]) == (3, 1.0)
    assert (highest.get_xdata()[0], highest.get_ydata()[0]) == (4, 0.4)
    assert losses.get_ylim() == pytest.approx((0, 2.0))  # 9 is cut off, 1.5 is not
    assert losses.get_ylabel() == "loss (cut off above)"
    low = trainings[trainings["epoch"] > 2].assign(**{"test/loss": 1.0})
    assert training_figure(low, "").axes[0].get_ylabel() == "loss"
    assert len(figure.legends[0].get_texts()) == 5
    assert not highest.get_clip_on()  # were it the last epoch, half of it would be cut off


def test_a_panel_a_training_up_to_nine(trainings):
    figure = correlation_figure(trainings, {"a": "first", "b": "second"}, "")
    assert [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes[:2]] == ["first", "second"]
    many = pd.concat([trainings[trainings["run"] == "a"].assign(run=str(run)) for run in range(11)])
    assert len(correlation_figure(many, {str(run): "" for run in range(11)}, "").axes) == 9 + 1  # the colours'


@pytest.mark.parametrize("losses", [(2.3, 0.2, 0.13), (0.15, 0.14, 0.13), (1e-4, 3.0, 500.0), (0.5, 0.5, 0.5)])
def test_all_epochs_are_in_view_with_a_few_round_losses(losses):
    epochs = pd.DataFrame({"run": "a", "epoch": range(1, 4), "test/loss": losses})
    axes = correlation_figure(epochs.assign(**{"ablation/auc_normalized": [0.1, 0.5, 0.6]}), {"a": ""}, "").axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < min(losses) <= max(losses) < axes.get_xlim()[1]
    assert axes.get_ylim()[0] < 0.1 < 0.6 < axes.get_ylim()[1]
    assert 2 <= len(axes.get_xticks()) <= 6


def test_panels_with_none_below_tell_the_test_loss(trainings):
    five = pd.concat([trainings[trainings["run"] == "a"].assign(run=str(run)) for run in range(5)])
    figure = correlation_figure(five, {str(run): "" for run in range(5)}, "")
    told = [axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes[:5]]
    assert told == [False, False, True, True, True]


def test_nothing_is_cut_or_covered_however_long_the_title(lines, trainings):
    title = (
        "mnist at paper scale, network.hidden=[512,512], stop_at_train_accuracy=1.0, trainer.max_epochs=1000: 1 to 9"
    )
    rows = [Row([0.1], 0.1, 0, 1, "k")] * 8
    names = [f"Adam, learning rate 0.0003, {images},000 images" for images in range(8)]
    labelled = [Line(f"dropout 0.{place}, 100 % corrupted", curves((0.7, 1.1)), "k") for place in range(9)]
    networks = pd.DataFrame({"generalization_error": [0.1, 0.2, 0.3], "auc_normalized": [0.5, 0.4, 0.3]})
    networks["auc_normalized_se"] = np.nan
    figures = [
        ablation_figure(labelled, 0.1, title),
        dots_figure(names, [Column(rows, "AUC", (0, 1))], title),
        dots_figure(
            [line.label for line in labelled[:8]], [Column(rows, "AUC"), Column(rows, "AUC minus\nthat")], title
        ),
        training_figure(trainings, title),
        scatter_figure(networks, pd.Series(["a", "b", "a"]), "cluster", title),
        correlation_figure(trainings, {"a": "seed 1: ρ 0.65", "b": "seed 2: ρ 0.60"}, title),
        leverage_figure(["seed 1, learning rate 0.01", "seed 2", "seed 3", "seed 4"], [0.1, 0.2, 0.3, 0.9], 0.3, title),
    ]
    for figure in figures:
        figure.draw_without_rendering()  # would warn where the axes have no room
        assert all(text.get_fontsize() * 3.4 / figure.get_figwidth() >= 6 for text in figure.findobj(Text))
        below = figure._suptitle.get_window_extent()
        assert below.x1 <= figure.bbox.x1
        assert below.y1 <= figure.bbox.y1
        for axes in figure.axes:
            assert axes.get_window_extent().width > 0.3 * figure.bbox.width
            for artist in figure.legends:
                box = artist.get_window_extent()
                assert not box.overlaps(below)
                assert not box.overlaps(axes.get_window_extent())
                assert box.x1 <= figure.bbox.x1


def test_same_figure_is_the_same_file(lines, tmp_path):
    files = [save(ablation_figure(lines, 0.1, "twice"), tmp_path / name / "figure_1a") for name in ("a", "b")]
    assert [file.name for file in files[0]] == ["figure_1a.png", "figure_1a.svg"]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    assert files[0][0].stat().st_size > 10_000
