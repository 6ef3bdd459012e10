"""The machine-learning reproducibility checklist, answered from the tables."""

from collections.abc import Iterator, Sequence

import pandas as pd

from single_directions.report.markup import Markup, tag
from single_directions.report.provenance import compute
from single_directions.report.section import Section
from single_directions.report.wording import count


def checklist(runs: pd.DataFrame, sections: Sequence[Section]) -> Markup:
    """Questions and answers."""
    return tag("dl", [[tag("dt", asked), tag("dd", answer)] for asked, answer in _answers(runs, sections)], class_="checklist")


def _answers(runs: pd.DataFrame, sections: Sequence[Section]) -> Iterator[tuple[str, str]]:
    done = runs[runs["state"] == "done"]
    data = sorted({f"{section.data} ({section.scale} scale)" for section in sections if not section.runs.empty})
    yield ("What is measured, on what networks?", "Units of a trained network are clamped one after another in random "
           "order, in evaluation mode, after the ReLU; accuracy is taken on training images, on the labels trained with. "
           "Networks: a multilayer perceptron, an 11-layer convolutional network and ResNet-50, as far as the paper "
           "describes them; whatever it leaves open is a key of the configuration with a comment that says so. The "
           "settings of each experiment are in its section.")  # fmt: skip
    yield ("Which data, and how are they split?", f"{'; '.join(data) or 'none yet'}. Training and test images are those "
           "that the data sets come with; of digits, 500 test images balanced by class, the same for every seed. Pixels "
           "are standardized with the training images' mean and deviation; no image is left out, none is augmented unless "
           "a section's settings say so. Each section gives the numbers of images, and a hash of the training subset "
           "and its labels.")  # fmt: skip
    yield ("Is there a validation set?", "No choice rests on test images: they give the test loss, the test accuracy and "
           "the generalization error that the claims are about.")  # fmt: skip
    yield ("Which hyperparameters were tried, and how was one chosen?", "Optimizer and learning rate, which the paper "
           "does not state: SGD with 0.1, 0.03, 0.01 and Adam with 0.003, 0.001, 0.0003, the one with the fewest epochs to "
           "99 % training accuracy on true labels and, of equals, the least training loss (experiment=tuning). Nothing "
           "was chosen for how a claim comes out. Each section lists all settings used.")  # fmt: skip
    numbers = "; ".join(
        f"{section.experiment.name}, {section.place}: {len(section.runs)} done"
        + (f", {len(section.others)} not" if len(section.others) else "")
        for section in sections
    )
    yield "How many trainings and measurements were there?", (
        f"{count(len(done), 'run')} done of {len(runs)}, each one training and one final measurement. {numbers}. "
        "Runs that failed or are broken are listed above; none was left out for its result."
    )
    yield ("How is the statistic defined?", "Curve: accuracy against units clamped, a row an ordering. AUC: the trapezoid "
           "area under accuracy against the fraction of units ablated, 0 to 1, averaged over a network's orderings; "
           "normalized: divided by the accuracy with nothing ablated. Generalization error: train minus test accuracy. The "
           "rule of each verdict stands beside it and was fixed in the code before the runs.")  # fmt: skip
    yield ("What is the spread, and over what?", "The network is the unit of inference: orderings are averaged within it, "
           "and seeds that conditions share are blocks. Intervals are 95 %: Student's t below 10 networks, bootstrap from "
           "10. Bands in figures are one standard deviation, over what their captions say. p values of claims are "
           "corrected together, by Holm's method.")  # fmt: skip
    yield "What did it take to compute?", compute(done) if len(done) else "nothing yet"
    yield ("Where are code, networks and results?", "Code and configuration: this repository; pyproject.toml states the "
           "versions it needs, each section those it ran with. Each run's folder holds its configuration, its epochs, "
           "its curve, its summary and its network (last.ckpt).")  # fmt: skip
