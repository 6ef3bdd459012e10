"""The machine-learning reproducibility checklist, answered from the tables."""

from collections.abc import Iterator, Sequence

import pandas as pd

from single_directions.experiments import ensemble
from single_directions.experiments.copies import first_of
from single_directions.experiments.section import Section
from single_directions.experiments.wording import DATA, count
from single_directions.report.provenance import compute
from single_directions.report.views import Fact


def checklist(runs: pd.DataFrame, sections: Sequence[Section]) -> Iterator[Fact]:
    """Questions and answers; those on the paper only where one of its experiments was run."""
    done = runs[runs["state"] == "done"]
    papers = any(section.experiment.figure for section in sections)
    follows = (
        " The paper's experiments follow the paper as far as it describes them; for what it leaves open, the "
        "configuration has a key with a comment."
    )
    yield Fact(
        "What is measured, on what networks?",
        "Units of a trained network are clamped one after another in random order, in evaluation mode, after the "
        "activation function. Accuracy is taken on training images, against the labels that the network was trained "
        "on. Networks: "
        f"{_networks(done)}. The part on each experiment lists its settings.{follows if papers else ''}",
    )
    data = sorted({section.brief for section in sections if not section.runs.empty})
    yield Fact(
        "Which data, and how are they split?",
        f"{', '.join(data) or 'None yet'}. {_split(done)}Where only a part of the images was used, it was drawn at "
        "random by `data.seed`, balanced by class. There is no random augmentation unless an "
        "experiment's settings say so. The part on each experiment gives the numbers of images and a hash of the "
        "training subset and its labels.",
    )
    yield Fact(
        "Is there a validation set?",
        f"{_stopped_by_test(done)}. Test images give the test loss, test accuracy and generalization error that the "
        "claims are about. Some settings were chosen by accuracy on held-out training images; `docs/planned_runs.md` "
        "says which.",
    )
    if papers:
        yield Fact(
            "Which hyperparameters were tried, and how was one chosen?",
            "The paper does not state optimizer and learning rate. Those of the configuration are the setting of a "
            "small grid (`conf/experiment/tuning.yaml`) that needs the fewest epochs to reach 99 % training accuracy "
            "on true labels; among equals, the one with the least training loss. Where a command of the project sets "
            "others, `docs/results/tuning.md` or `docs/planned_runs.md` says how they were chosen. Nothing was chosen "
            "by how a claim comes out. The part on each experiment lists all settings.",
        )
    numbers = "; ".join(
        "; ".join([f"{section.experiment.name}, {section.title}: {len(section.runs)} done", *section.not_done])
        for section in sections
    )
    yield Fact(
        "How many trainings and measurements were there?",
        f"{count(len(runs), 'run')}, {len(done)} of them done, each with one training and one final measurement. "
        f"{_copies(runs, len(done))}{numbers}. Runs that failed or are broken are listed above. None was left out for "
        "its result.",
    )
    yield Fact(
        "How is the statistic defined?",
        "Curve: accuracy against the number of units clamped, one for each ordering of the units. AUC: the trapezoid "
        "area under accuracy against the fraction of units clamped, 0 to 1, averaged over a network's orderings. "
        f"Normalized AUC: divided by the accuracy with nothing clamped{', as in Figures 2 and 3' if papers else ''}. "
        f"{_estimated(sections)}Generalization error: train minus test accuracy. Clusters of an ensemble: a Gaussian "
        "mixture of 1 to 3 components of equal covariance; a smaller number of components is preferred unless a larger "
        "one has a BIC lower by more than 10. The rule of each verdict is shown with it.",
    )
    yield Fact(
        "What is the spread, and over what?",
        "The network is the unit of inference. Orderings are averaged within a network, and seeds that conditions "
        "share are blocks (networks of one seed at several learning rates count as one). Intervals are 95 %. The p "
        "values come from the same method as the intervals: Student's t for means and differences, Fisher's z for "
        "correlations, Clopper and Pearson's for shares. Bands in figures are one standard deviation, over what the "
        "caption says.",
    )
    if papers:
        yield Fact(
            "How are several claims judged at once?",
            "Each of the paper's nine panels has one main claim. Their p values are corrected for nine claims "
            "(Bonferroni), whether or not all were run, so that no verdict depends on what else was run. An experiment "
            "beyond the paper is corrected for its own claims, and so are the further claims of an experiment. What "
            "a figure takes for granted, such as that networks reach a training accuracy of about 1, is checked but is "
            "not a claim.",
        )
    yield Fact("What did it take to compute?", compute(done) if len(done) else "Nothing yet.")
    yield Fact(
        "Where are code, networks and results?",
        "Code and configuration are in the repository that made this page. `pyproject.toml` states the versions it "
        "needs; the part on each experiment states those it ran with. Each run's folder holds its configuration, its "
        "epochs, its curve, its summary and its network (`last.ckpt`).",
    )


def _networks(done: pd.DataFrame) -> str:
    """The classes of the networks trained."""
    column = "config.network._target_"
    names = {str(name).rpartition(".")[2] for name in done[column].dropna()} if column in done else set()
    return ", ".join(sorted(names)) or "none yet"


def _split(done: pd.DataFrame) -> str:
    """Where test images come from, and how pixels are scaled, of the data sets of this project."""
    names = set(done["data"])
    sentences = []
    if own := [word for name, word in {**DATA, "image_folder": "folders of images"}.items() if name in names]:
        sentences.append(f"{', '.join(own)}: the training and test images that the data set comes with. ")
    if "digits" in names:
        sentences.append("Digits: 500 of the images are for testing, balanced by class, the same for every seed. ")
    if sentences:
        normalized = done.get("config.data.normalize", pd.Series(dtype=str)).astype(str) != "False"
        scaled = "Pixels are shifted and scaled by one mean and one deviation for each channel"
        if normalized.all():
            sentences.append(f"{scaled}. ")
        elif normalized.any():
            sentences.append(f"{scaled}, or lie between 0 and 1, as an experiment's settings say (`data.normalize`). ")
        else:
            sentences.append("Pixels lie between 0 and 1. ")
    return "".join(sentences)


def _stopped_by_test(done: pd.DataFrame) -> str:
    """Whether test images could decide when a training ended."""
    monitored = done.get("config.early_stopping.monitor", pd.Series(dtype=str)).dropna().astype(str)
    stopped = int(monitored.str.startswith("test/").sum())
    if not stopped:
        return "No test image decided a setting or the end of a training"
    return f"There is none: {count(stopped, 'run')} could be stopped by their results on the test images"


def _estimated(sections: Sequence[Section]) -> str:
    """By what measure Figure 2 is, where not by the curve's mean over orderings."""
    names = [one.experiment.name for one in sections if one.experiment.figure == "2"
             and ensemble.estimated(one.runs)]  # fmt: skip
    if not names:
        return ""
    return f"In Figure 2 ({', '.join(dict.fromkeys(names))}) a network's AUC is {ensemble.ESTIMATED} instead. "


def _copies(runs: pd.DataFrame, done: int) -> str:
    """How many runs trained a network that another run had trained, and in which experiments."""
    copies = first_of(runs)
    if not copies:
        return ""
    names = runs.set_index("run")["experiment"]
    places = sorted({" and ".join(sorted((names[one], names[other]))) for one, other in copies.items()})
    return (
        f"{len(copies)} of them trained a network that another run had trained under another name "
        f"({'; '.join(places)}), with the same results to the last digit. Such a network counts once, so there are "
        f"{done - len(copies)} different networks. "
    )
