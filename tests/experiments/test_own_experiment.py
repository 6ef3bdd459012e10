"""An experiment of the user's own has a section with curves and areas by each key that it sweeps."""

from dataclasses import replace

import constructed
import numpy as np
import pandas as pd
import pytest
from constructed import renamed

from single_directions.errors import BadInput
from single_directions.experiments.claim import POSITIVE, Claim, Finding
from single_directions.experiments.experiment import EXPERIMENTS, Experiment
from single_directions.experiments.judge import judge
from single_directions.experiments.pictures import pictures
from single_directions.experiments.section import sections_of
from single_directions.experiments.statistics import Estimate
from single_directions.experiments.sweeps import own_conditions, variants
from single_directions.report.blocks import choice, choices
from single_directions.report.checklist import checklist
from single_directions.report.page import page_of
from single_directions.report.render import html
from single_directions.report.views import Figure


@pytest.fixture
def tables():
    """Of an experiment that no file of this project knows: two numbers of images x two optimizers x two seeds."""
    network = {"config.network._target_": "single_directions.networks.MLP"}
    return renamed(constructed.tables({"early_stopping_grid": 2}), "", experiment="mine", **network)


def test_whatever_sets_the_runs_apart_is_a_condition(tables):
    assert set(variants(tables.runs)) == {""}
    assert own_conditions(tables.runs) == ("config.data.train_samples", "config.optimizer._target_")
    [section] = sections_of(tables, [])
    labels = ["300 images, ADAM", "300 images, SGD", "1,200 images, ADAM", "1,200 images, SGD"]
    assert [one.label for one in section.conditions()] == labels
    assert [len(one.runs) for one in section.conditions()] == [2, 2, 2, 2]


def test_section_has_figures_by_key_and_a_table(tables):
    [section] = sections_of(tables, [])
    shown = list(pictures(section))
    names = [picture.name for picture in shown]
    keys = ("_by_data.train_samples", "_by_data.train_samples_auc", "_by_optimizer", "_by_optimizer_auc", "_auc")
    assert names == [*(f"figure_mine{key}" for key in keys), "figure_mine_training"]
    assert [text.get_text() for text in shown[0].figure.legends[0].get_texts()] == ["300 images", "1,200 images"]
    text = html(page_of(tables, [section], [[Figure(picture.name, picture.caption, "<svg/>") for picture in shown]]))
    assert "Own experiment: mine" in text
    assert "If settings were chosen without a test set" in text
    for other in ("Other runs", "the paper", "Morcos", "main claims", "Not among these runs", "What holds"):
        assert other not in text


def test_choices_are_of_the_extremes_of_each_seed():
    runs = pd.DataFrame(
        {
            "seed": [0, 0, 0, 1, 1, 1, 2],
            "lr": [1, 2, 3, 1, 2, 3, 1],
            "test_accuracy": [0.9, 0.8, 0.1, 0.7, 0.95, 0.2, 1.0],
            "auc": [0.5, 0.6, 0.1, 0.4, 0.7, 0.1, 0.9],
            "auc_normalized": [0.5, 0.6, 1.0, 0.4, 0.7, np.nan, 0.9],
            "train_loss": [0.1, 0.2, 2.3, 0.1, 0.2, 2.3, 0.1],
        }
    )
    found = choices(runs, ["lr"])
    assert list(found.index) == [0, 1]  # the third seed lacks settings
    assert list(found["highest test accuracy"]) == [0.9, 0.95]
    assert list(found["highest AUC"]) == [0.8, 0.95]
    assert list(found["highest normalized AUC"]) == [0.1, 0.95]
    assert list(found["least training loss"]) == [0.9, 0.7]
    assert list(found["at random"]) == pytest.approx([0.6, 1.85 / 3])


def test_the_checklist_says_nothing_of_the_papers_experiments(tables):
    def answers(runs):
        return " ".join(fact.text for fact in checklist(runs, sections_of(tables, [])))

    seen = answers(tables.runs.assign(data="mine"))
    for told in ("MLP", "trained on"):
        assert told in seen
    for other in ("ResNet-50", "tuning.yaml", "Digits", "Figures 2 and 3", "nine figures", "the paper"):
        assert other not in seen
    assert "Digits: 500 of the images are for testing" in answers(tables.runs)
    assert "MNIST: the training and test images" in answers(tables.runs.assign(data="mnist"))


def test_nothing_is_chosen_among_trainings_on_different_labels(tables):
    [section] = sections_of(tables, [])
    assert choice(section) is not None
    section.runs.loc[section.runs.index[0], "label_hash"] = "another"
    assert choice(section) is None


def failing_without_networks(tables):
    return Finding({"first": Estimate(value=tables.runs["auc"].iloc[0], n=len(tables.runs))})


def test_own_claims_that_fail_are_named_and_networks_below_99_told_apart(tables, monkeypatch):
    claim = Claim("auc", "a sentence", "a number", "above 0", POSITIVE, failing_without_networks)
    mine = Experiment("mine", "Mine", claims=(claim,))
    monkeypatch.setitem(EXPERIMENTS, "mine", mine)
    tables = tables.of(tables.runs.assign(train_accuracy=0.5))
    with pytest.raises(BadInput, match=r"the claim mine\.auc: its function `find` fails on 0 runs: IndexError"):
        judge(tables)
    monkeypatch.setitem(EXPERIMENTS, "mine", replace(mine, claims=(replace(claim, find=lambda tables: Finding({})),)))
    poor = tables.runs["overrides"] == tables.runs["overrides"].iloc[0]
    [judgement] = judge(tables.of(tables.runs.assign(train_accuracy=1 - 0.5 * poor)))
    [caveat] = [caveat for caveat in judgement.caveats if "below 99 %" in caveat]
    assert "1 of 8 networks are below 99 % training accuracy (data.train_samples=300,optimizer=sgd,seed=0): " in caveat
