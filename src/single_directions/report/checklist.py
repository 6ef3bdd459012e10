"""The machine-learning reproducibility checklist, answered from the tables."""

from collections.abc import Iterator, Sequence

import pandas as pd

from single_directions.experiments import ensemble
from single_directions.experiments.copies import first_of
from single_directions.experiments.heading import DATA
from single_directions.experiments.section import Section
from single_directions.experiments.wording import count
from single_directions.report.markup import Markup, tag
from single_directions.report.provenance import compute

_WITH_TEST_IMAGES = {**DATA, "image_folder": "folders of images"}


def checklist(runs: pd.DataFrame, sections: Sequence[Section]) -> Markup:
    """Questions and answers."""
    pairs = [(tag("dt", asked), tag("dd", answer)) for asked, answer in _answers(runs, sections)]
    return tag("dl", pairs, class_="checklist")


def _answers(runs: pd.DataFrame, sections: Sequence[Section]) -> Iterator[tuple[str, str]]:
    done = runs[runs["state"] == "done"]
    papers = any(section.experiment.figure for section in sections)
    of_paper = (
        "Those of the paper's experiments are as far as the paper describes them; whatever it leaves open is a key of "
        "the configuration with a comment that says so. "
        if papers
        else ""
    )
    yield (
        "What is measured, on what networks?",
        "Units of a trained network are clamped one after another in random order, in evaluation mode, after the ReLU; "
        f"accuracy is taken on training images, on the labels trained with. Networks: {_networks(done)}. {of_paper}"
        "Each section lists its settings.",
    )
    data = sorted({section.brief for section in sections if not section.runs.empty})
    yield (
        "Which data, and how are they split?",
        f"{', '.join(data) or 'None yet'}. {_split(done)}Where only a part of the images was used, it was drawn at "
        "random, balanced by class, the same for every seed; no image is changed at random unless a section's settings "
        "say so. Each section gives the numbers of images and a hash of the training subset and its labels.",
    )
    yield (
        "Is there a validation set?",
        "No, nor is there a use for one: no setting and no stopping rests on test images. They give the test loss, "
        "test accuracy and generalization error that the claims are about.",
    )
    if papers:
        yield (
            "Which hyperparameters were tried, and how was one chosen?",
            "Optimizer and learning rate, which the paper does not state: of a small grid (see "
            "conf/experiment/tuning.yaml) the setting that takes the fewest epochs to 99 % training accuracy on true "
            "labels and, of equals, the least training loss. Nothing was chosen for how a claim comes out. Each "
            "section lists all settings used.",
        )
    numbers = "; ".join(
        f"{section.experiment.name}, {section.title}: {len(section.runs)} done"
        + "".join(f"; {told}" for told in section.not_done)
        for section in sections
    )
    yield (
        "How many trainings and measurements were there?",
        f"{count(len(runs), 'run')}, {len(done)} of them done, each one training and one final measurement. "
        f"{_copies(runs)}{numbers}. Runs that failed or are broken are listed above; none was left out for its result.",
    )
    yield (
        "How is the statistic defined?",
        "Curve: accuracy against the number of units clamped, one for each ordering of the units. AUC: the trapezoid "
        "area under accuracy against the fraction of units clamped, 0 to 1, averaged over a network's orderings; "
        f"normalized: divided by the accuracy with nothing clamped{', as in Figures 2 and 3' if papers else ''}. "
        f"{_estimated(sections)}Generalization error: train minus test accuracy. "
        "Clusters of an ensemble: a Gaussian mixture of 1 to 3 components of one shape, the fewest than which none has "
        "a BIC lower by more than 10. The rule of each verdict stands beside it.",
    )
    yield (
        "What is the spread, and over what?",
        "The network is the unit of inference: orderings are averaged within it, and seeds that conditions share are "
        "blocks (where an ensemble has networks of one seed at several learning rates, those count as one). Intervals "
        "are 95 %, and p values come from the same method however many networks there are: Student's t for means and "
        "differences, Fisher's z for correlations, Clopper and Pearson's for shares. Bands in figures are one standard "
        "deviation, over what their captions say.",
    )
    if papers:
        yield (
            "How are several claims judged at once?",
            "Each of the paper's nine figures has one main claim, and these are corrected for being nine, whether or "
            "not all were run (Bonferroni's method, so that no verdict depends on what else was run). An experiment "
            "beyond the paper is a family of its own, and so are the further claims of an experiment. What a figure "
            "presupposes, such as that networks know their training images, is checked and not counted as a claim.",
        )
    yield "What did it take to compute?", compute(done) if len(done) else "Nothing yet."
    yield (
        "Where are code, networks and results?",
        "Code and configuration are the repository that this page was made with; pyproject.toml states the versions it "
        "needs, each section those it ran with. Each run's folder holds its configuration, its epochs, its curve, its "
        "summary and its network (last.ckpt).",
    )


def _networks(done: pd.DataFrame) -> str:
    """The classes of the networks trained."""
    column = "config.network._target_"
    names = {str(name).rpartition(".")[2] for name in done[column].dropna()} if column in done else set()
    return ", ".join(sorted(names)) or "none yet"


def _split(done: pd.DataFrame) -> str:
    """Where test images come from, and how pixels are scaled, of the data sets of this project."""
    names = set(done["data"])
    told = []
    if own := [word for name, word in _WITH_TEST_IMAGES.items() if name in names]:
        told.append(f"Training and test images of {', '.join(own)} are those that these come with. ")
    if "digits" in names:
        told.append("Of the digits, which come without, 500 are test images, balanced by class, the same for every "
                    "seed. ")  # fmt: skip
    if told:
        told.append("Their pixels are shifted and scaled by one mean and deviation a channel. ")
    return "".join(told)


def _estimated(sections: Sequence[Section]) -> str:
    """By what measure Figure 2 is, where not by the curve's mean over orderings."""
    names = [one.experiment.name for one in sections if one.experiment.figure == "2"
             and ensemble.estimated(one.runs)]  # fmt: skip
    if not names:
        return ""
    return f"In Figure 2 ({', '.join(dict.fromkeys(names))}) a network's AUC is {ensemble.ESTIMATED} instead. "


def _copies(runs: pd.DataFrame) -> str:
    """How many runs trained a network that another run had trained, and in which experiments."""
    copies = first_of(runs)
    if not copies:
        return ""
    names = runs.set_index("run")["experiment"]
    places = sorted({" and ".join(sorted((names[one], names[other]))) for one, other in copies.items()})
    return (
        f"{len(copies)} of them trained again, under another name, what another run had trained ({'; '.join(places)}): "
        "the results are the same to the last digit. Such a network counts once, so that there are "
        f"{len(runs[runs['state'] == 'done']) - len(copies)} different networks. "
    )
