"""The numbers on results in README and guide, against the committed results."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from single_directions.experiments.claim import LEVEL
from single_directions.experiments.statistics import correlation, difference, least_decisive, partial_correlation

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
NUMBER = r"([+−]?\d+\.\d+)"
INTERVAL = rf"{NUMBER} \[{NUMBER}, {NUMBER}\]"
_ADAM, _SGD = (f"optimizer={name},data.train_samples=10000" for name in ("adam", "sgd"))


@pytest.fixture(scope="module")
def claims():
    return {claim["id"]: claim for claim in json.loads((RESULTS / "claims.json").read_text())}


def part(file, name):
    """The marked parts of a file, on one line for each paragraph or row."""
    parts = re.findall(rf"<!-- {name}:.*?-->(.*?)<!-- end of {name} -->", (ROOT / file).read_text(), flags=re.DOTALL)
    assert parts, file
    return re.sub(r"(?<!\|)\n(?![\n|])", " ", "\n".join(parts))


@pytest.fixture(scope="module")
def told():
    """What README says about results."""
    return part("README.md", "results")


def same(text, value):
    """Whether a number as README writes it is the value, rounded to as many digits."""
    digits = len(text.partition(".")[2])
    return float(text.replace("−", "-")) == pytest.approx(round(value, digits), abs=10.0**-digits * 1e-6)


def agrees(numbers, estimate):
    return all(same(text, estimate[key]) for text, key in zip(numbers, ("value", "low", "high"), strict=True))


def rows(told):
    found = re.findall(r"^\| (\d[abc]): (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", told, flags=re.MULTILINE)
    return {figure: row for figure, *row in found}


def asked_for(experiment):
    """How many runs an experiment's file asks for at paper scale."""
    params = yaml.safe_load((ROOT / "conf" / "experiment" / f"{experiment}.yaml").read_text())["hydra"]["sweeper"][
        "params"
    ]
    number = 1
    for values in map(str, params.values()):
        at_scale = re.fullmatch(r'\$\{at_scale:"(.*)","(.*)"\}', values)
        values = at_scale[2] if at_scale else values
        interval = re.fullmatch(r"range\((\d+),(\d+)\)", values)
        number *= int(interval[2]) - int(interval[1]) if interval else len(values.split(","))
    return number


def test_the_table_has_each_main_claim_with_its_verdict_and_numbers(told, claims):
    beyond = ("early_stopping_grid", "early_stopping_corrupted", "ensemble_learning_rates")
    main = {
        claim["figure"]: claim
        for claim in claims.values()
        if claim["role"] == "main" and claim["experiment"] not in beyond
    }
    runs = pd.read_csv(RESULTS / "runs.csv", low_memory=False)
    assert set(rows(told)) == set(main)
    for figure, (said, number, done, verdict) in rows(told).items():
        claim = main[figure]
        assert verdict == claim["verdict"]
        own = runs[(runs["experiment"] == claim["experiment"]) & (runs["state"] == "done")]
        assert done == f"{len(own)} of {asked_for(claim['experiment'])}", figure
        [numbers] = re.findall(INTERVAL, number)
        assert agrees(numbers, claim), (figure, numbers)
        assert re.findall(r"n = (\d+)", number) == [str(claim["n"])]
        rest = re.sub(rf"{INTERVAL}|n = \d+", "", number)
        for needed in re.findall(r"at least (\d+) are needed", rest):
            assert int(needed) == least_decisive(LEVEL / claim["family"])
        for least, most, first, last, farthest in re.findall(
            rf"{NUMBER} to {NUMBER} more .* at fractions {NUMBER} to {NUMBER}; at {NUMBER} it is", rest
        ):
            parts = claim["details"]["parts"]
            assert same(least, min(part["value"] for part in parts.values()))
            assert same(most, max(part["value"] for part in parts.values()))
            assert [next(iter(parts)), [*parts][-1]] == [f"dropout {first}", f"dropout {last}"]
            assert (
                claim["value"] == parts[f"dropout {farthest}"]["value"] == max(one["value"] for one in parts.values())
            )
        for level in re.findall(r"at (\d+) % corruption, the least clear of five levels", rest):
            assert claim["details"]["judged"] == 5
            assert claim["details"]["weakest"] == f"corruption {int(level) / 100:g}"
        for p in re.findall(r"corrected p = (\d\.\d+)", rest):
            assert same(p, claim["p_corrected"])
        for margin in re.findall(r"substantially means (\d\.\d+)", rest):
            assert float(margin) == claim["details"]["margin"]
        checked = (
            r"corrected p = \d\.\d+|substantially means \d\.\d+|at least \d+ are needed|at \d+ % corruption|"
            rf"{NUMBER} to {NUMBER} more|at fractions {NUMBER} to {NUMBER}; at {NUMBER} it is"
        )
        assert not re.findall(r"\d", re.sub(checked, "", rest))
        assert [float(text.replace("−", "-")) for text in re.findall(NUMBER, said)] == (
            [claim["paper_value"]] if claim["paper_value"] else []
        )


class Prose:
    """A text out of which the passages that were checked are taken."""

    def __init__(self, text):
        self.rest = re.sub(r"^\|.*\|$|!\[.*?\]\(.*?\)", "", text, flags=re.MULTILINE)

    def take(self, pattern):
        """The groups of a passage that the text must have."""
        [match] = re.finditer(pattern, self.rest)
        self.rest = self.rest[: match.start()] + self.rest[match.end() :]
        return match.groups()

    def numbers_left(self, names):
        return re.findall(r"\S*\d\S*", re.sub(names, "", self.rest))


def check_reduction(prose, runs):
    """How the experiments are smaller than the paper's."""
    [reduced, accuracy] = prose.take(
        r"reduced: ([\d,]+) training images.*?, fewer epochs.*?, and\s+on CIFAR-10 .* trained to at least (\d+) % "
        r"training"
    )
    judged = runs[~runs["experiment"].isin(["single", "tuning", "early_stopping_grid"])]
    assert set(judged["config.data.train_samples"]) == {int(reduced.replace(",", ""))}
    convolutional = runs[runs["experiment"].isin(["memorization_cifar10", "batch_norm"])]
    assert set(convolutional["config.stop_at_train_accuracy"]) == {int(accuracy) / 100}
    assert set(convolutional["config.network.width"]) == {0.25}


def test_every_other_number_of_readme_is_that_of_the_results(told, claims):
    prose = Prose(told)
    runs = pd.read_csv(RESULTS / "runs.csv", low_memory=False)
    own = runs[runs["experiment"] == "memorization"]
    [images] = prose.take(r"\(([\d,]+) training images\), an MLP of 2 x 512, 100 epochs, every network at 100 %")
    assert set(own["config.data.train_samples"]) == {int(images.replace(",", ""))}
    assert set(own["config.network.hidden"]) == {"[512, 512]"}
    assert set(own["epochs"]) == {100}
    assert own["train_accuracy"].min() == 1
    networks, orderings = prose.take(r"means over (\d+) networks x (\d+) random orders")
    assert set(own.groupby("corruption").size()) == {int(networks)}
    assert set(own["orderings"]) == {int(orderings)}
    assert {claim["family"] for claim in claims.values()} >= {9}
    prose.take(
        r"Intervals are 95 %, and p is corrected for all nine main claims \(including that of 1c, which was not run\)"
    )
    assert "memorization_imagenet" not in set(runs["experiment"])
    hidden = runs.groupby("experiment")["config.network.hidden"].unique()
    narrow, wide = prose.take(r"a narrower MLP in 4a \((\d+) for ([\d,]+) units")
    assert [*hidden["dropout"]] == [f"[{narrow}, {narrow}]"]
    assert [*hidden["early_stopping"]] == [str([int(wide.replace(",", ""))] * 2)]
    check_reduction(prose, runs)
    dead, of = prose.take(r"(\d+) of the (\d+) networks with 80 or 100 % of the labels shuffled learn nothing")
    corrupted = pd.read_csv(RESULTS / "memorization_generalizing" / "runs.csv", low_memory=False)
    corrupted = corrupted.loc[corrupted["corruption"] >= 0.8, "train_accuracy"]
    assert ((corrupted < 0.11).sum(), len(corrupted)) == (int(dead), int(of))
    below, networks = prose.take(r"below 99 % training accuracy: (\d+) of (\d+), and all those without batch norm")
    ensemble = pd.read_csv(RESULTS / "ensemble_generalizing" / "runs.csv", low_memory=False)
    assert ((ensemble["train_accuracy"] < 0.99).sum(), len(ensemble)) == (int(below), int(networks))
    without = pd.read_csv(RESULTS / "batch_norm_generalizing" / "runs.csv", low_memory=False)
    assert without.loc[without["config.network.batch_norm"].eq(False), "train_accuracy"].max() < 0.99
    assert prose.numbers_left(r"Figure 1a|\(1a, 2, 3, 4a\)|CIFAR-10|In 2b and 4b|In 1b|of 1a are under way") == []


REPEATS = (
    ("memorization_generalizing", "memorization_cifar10.auc"),
    ("memorization_other_images", "memorization_cifar10.auc"),
    ("ensemble_generalizing", "ensemble.best_and_worst"),
    ("ensemble_generalizing", "ensemble.generalization"),
    ("figure_3_long", "early_stopping_grid.downturn"),
    ("figure_3_long", "early_stopping_grid.test_loss"),
    ("dropout_500", "dropout.against_none"),
    ("batch_norm_generalizing", "batch_norm.auc"),
)


def test_the_table_of_repeats_has_the_verdicts_and_numbers(told):
    found = re.findall(r"^\| (\d[abc]): ([^|]*) \| ([^|]*) \| ([^|]*) \|$", told, flags=re.MULTILINE)
    for (figure, setting, number, verdict), (folder, name) in zip(found, REPEATS, strict=True):
        [claim] = [one for one in json.loads((RESULTS / folder / "claims.json").read_text()) if one["id"] == name]
        first, *others = re.findall(INTERVAL, number)
        assert figure == claim["figure"]
        assert verdict == claim["verdict"], figure
        assert agrees(first, claim), figure
        assert re.findall(r"n = (\d+)", number) == [str(claim["n"])]
        assert all(same(p, claim["p_corrected"]) for p in re.findall(r"corrected p = (\d\.\d+)", number))
        assert verdict != "reproduced" or "corrected p" in number
        if figure == "3b":
            assert agrees(others[0], claim["details"]["parts"][_ADAM])
            assert claim["details"]["weakest"] == _SGD
        for fraction in re.findall(r"at fraction (0\.\d)", number):
            assert claim["details"]["weakest"] == f"dropout {fraction}"
        for epochs in re.findall(r"(\d+) epochs", setting):
            runs = pd.read_csv(RESULTS / folder / "runs.csv", low_memory=False)
            assert set(runs["config.trainer.max_epochs"]) == {int(epochs)}


def test_every_number_of_the_guides_findings_is_that_of_the_results(claims):
    prose = Prose(part("docs/findings.md", "results"))
    runs = pd.read_csv(RESULTS / "runs.csv", low_memory=False)
    equal = (RESULTS / "memorization.md").read_text()
    [(loss, true, shuffled, *gap, n)] = re.findall(
        rf"At training loss ([\d.]+), the least that all reach, the normalized AUC is {NUMBER} with true labels and "
        rf"{NUMBER} with 50 % of the labels corrupted: lower by {INTERVAL}, n = (\d+)\.",
        equal,
    )
    sgd, adam = "optimizer=sgd", "optimizer=adam"
    correlation = claims["early_stopping_corrupted.test_loss"]["details"]
    kept = {
        setting["condition"]: {by: setting["means"][by]["test_accuracy"] for by in ("auc", "nothing")}
        for setting in claims["early_stopping_corrupted.stopping"]["details"]["settings"]
    }
    check_reduction(prose, runs)
    numbers = prose.take(
        rf"loss of {NUMBER} the normalized AUC is {NUMBER} with true labels and {NUMBER} with half of them shuffled, "
        rf"lower by {INTERVAL}, n = (\d+)\."
    )
    assert numbers[-1] == n
    paired = zip(numbers[:-1], (loss, true, shuffled, *gap), strict=True)
    assert all(same(text, float(number)) for text, number in paired)
    numbers = prose.take(rf"Spearman {INTERVAL} with SGD and {INTERVAL} with Adam, n = (\d+) each")
    assert agrees(numbers[:3], correlation["parts"][sgd])
    assert agrees(numbers[3:6], correlation["parts"][adam])
    assert {part["n"] for part in correlation["parts"].values()} == {int(numbers[6])}
    stopped, low, high = prose.take(
        rf"a test accuracy of {NUMBER}, where training to the end leaves {NUMBER} to {NUMBER}\."
    )
    assert all(same(stopped, kept[optimizer]["auc"]) for optimizer in (sgd, adam))
    first, last, *losses = prose.take(
        rf"it keeps epochs (\d+) to (\d+), and stopping by test loss keeps networks that are as accurate, with a lower "
        rf"test loss: {NUMBER} in place of {NUMBER}\."
    )
    stopping = claims["early_stopping_corrupted.stopping"]
    assert any(caveat.startswith(f"stopping by AUC keeps epochs {first} to {last},") for caveat in stopping["caveats"])
    for setting in stopping["details"]["settings"]:
        by = [setting["means"][name] for name in ("test_loss", "auc")]
        assert all(same(loss, one["test_loss"]) for loss, one in zip(losses, by, strict=True))
        assert by[0]["test_accuracy"] == pytest.approx(by[1]["test_accuracy"], abs=0.005)
        assert setting["auc_minus_test_loss"]["test_loss"]["low"] > 0
    ends = sorted(kept[optimizer]["nothing"] for optimizer in (sgd, adam))
    assert same(low, ends[0])
    assert same(high, ends[1])
    raw = prose.take(rf"its correlations are {NUMBER} and {NUMBER}")
    assert same(raw[0], correlation["by_raw_auc"][sgd]["value"])
    assert same(raw[1], correlation["by_raw_auc"][adam]["value"])
    days = prose.take(r"2 cores of an AMD EPYC, (\S+) to (\S+)\.")
    assert days == (runs["finished"].min()[:10], runs["finished"].max()[:10])
    assert "memorization_imagenet" not in set(runs["experiment"])
    assert prose.numbers_left(r"Figure 1[ac]|CIFAR-10|of 3a|\(3b\)|bfloat16") == []


def test_what_readme_says_without_numbers_holds(claims):
    assert claims["early_stopping.downturn"]["value"] == 0  # "in none of them did the AUC turn down"
    trainings = claims["early_stopping.downturn"]["details"]["trainings"]
    assert [one["downturn"] for one in trainings] == [None] * 5
    assert all(
        claim["low"] > 0 for name, claim in claims.items() if name.startswith(("memorization_cifar10.a", "batch"))
    )
    assert json.loads((RESULTS / "history.json").read_text()).keys() >= {
        name for name, claim in claims.items() if claim["role"] == "main"
    }
    reasons = json.loads((RESULTS / "reasons.json").read_text())
    open_or_not = {name for name, one in claims.items() if one["verdict"] not in ("reproduced", "met")}
    assert reasons.keys() >= open_or_not


def test_figure_1a_in_full_has_the_numbers_of_its_runs():
    runs = pd.read_csv(RESULTS / "figure_1a_full" / "runs.csv", low_memory=False)
    runs = runs[runs["state"] == "done"].sort_values("corruption")
    text = part("docs/findings.md", "figure 1a in full")
    numbers = re.findall(r"0\.\d\d", text)
    assert len(numbers) == len(runs)
    assert all(same(number, auc) for number, auc in zip(numbers, runs["auc"], strict=True))
    [levels] = re.findall(r"with ([\d, and]+) % of the labels shuffled", text)
    assert re.findall(r"\d+", levels) == [f"{100 * level:.0f}" for level in runs["corruption"] if level]
    assert set(runs["config.trainer.max_epochs"]) == {640}
    assert set(runs["train_images"]) == {60_000}


def check_levels(prose, claim, groups, verdict):
    """Figure 1b's AUC of each level, and the number of the level that is least clear, with the verdict before p."""
    areas = prose.take(
        rf"AUC is {NUMBER} with true labels and {NUMBER}, {NUMBER} and\s{NUMBER} with 20, 40 and 60 % of\sthem"
    )
    assert all(map(same, areas, groups["auc"].mean()))
    weakest, *numbers, p = prose.take(rf"least clear at (\d+) %: {INTERVAL}, {verdict}corrected p {NUMBER}")
    assert claim["details"]["weakest"] == claim["details"]["p_of"] == f"corruption 0.{weakest[0]}"
    assert agrees(numbers, claim)
    assert same(p, claim["p_corrected"])


def test_figure_1b_with_other_images_has_the_numbers_of_its_runs():
    folder = RESULTS / "memorization_other_images"
    runs = pd.read_csv(folder / "runs.csv", low_memory=False)
    [claim] = [one for one in json.loads((folder / "claims.json").read_text()) if one["role"] == "main"]
    groups = runs.groupby("corruption")
    assert (runs["config.data.seed"] == runs["seed"]).all()
    prose = Prose(part("docs/findings.md", "figure 1b with other images"))
    assert prose.take(r"sweep of (\d+) networks, (\d+) at each level") == (str(len(runs)), str(claim["n"]))
    assert set(groups.size()) == {claim["n"]}
    check_levels(prose, claim, groups, verdict="")
    assert claim["verdict"] == "inconclusive"
    parts = claim["details"]["parts"].values()
    assert [part["low"] > 0 for part in parts] == [True] * 5  # "each of the five levels"
    [few] = prose.take(r"is above 0, but (\d) networks a level are too few")
    assert int(few) == claim["n"]
    dead, of = prose.take(r"Again (\d) of (\d) networks with 80 and 100 % do not train")
    many = runs.loc[runs["corruption"] >= 0.8, "train_accuracy"]
    assert ((many < 0.11).sum(), len(many)) == (int(dead), int(of))
    [shared] = prose.take(r"The (\d) networks of seed 0")
    first = pd.read_csv(RESULTS / "memorization_generalizing" / "runs.csv", low_memory=False)
    both = [table[table["seed"] == 0].set_index("corruption")["auc"] for table in (first, runs)]
    assert both[0].equals(both[1])
    assert len(both[1]) == int(shared)
    looked = prose.take(r"looked at after (\d+) and (\d+) networks")
    assert max(map(int, looked)) < len(runs)
    assert prose.numbers_left(r"2 cores|2026-11-30|results/\w+") == []


def test_figure_3_at_length_has_the_numbers_of_its_runs(claims):
    long = {claim["id"]: claim for claim in json.loads((RESULTS / "figure_3_long" / "claims.json").read_text())}
    runs = pd.read_csv(RESULTS / "figure_3_long" / "runs.csv", low_memory=False)
    text = part("docs/findings.md", "figure 3 at length")
    assert set(runs["config.trainer.max_epochs"]) == {640}
    assert set(runs["train_images"]) == {10_000}
    shown = re.findall(rf"^\| (?:true|half of them shuffled) \| {INTERVAL} \| {INTERVAL} \|$", text, flags=re.MULTILINE)
    for kind, numbers in zip(("grid", "corrupted"), shown, strict=True):
        parts = long[f"early_stopping_{kind}.test_loss"]["details"]["parts"]
        for optimizer, own in (("sgd", numbers[:3]), ("adam", numbers[3:])):
            [estimate] = [one for name, one in parts.items() if name.split(",")[0] == f"optimizer={optimizer}"]
            assert agrees(own, estimate)
            assert estimate["n"] == 4
    [paper] = re.findall(rf"as in the paper \({NUMBER}\)", text)
    assert float(paper.replace("−", "-")) == claims["early_stopping.test_loss"]["paper_value"]
    [short] = re.findall(rf"after 100 epochs of Adam the trainings disagreed \({INTERVAL}\)", text)
    assert agrees(short, claims["early_stopping_grid.test_loss"]["details"]["parts"][_ADAM])
    each = [one for one in long["early_stopping_grid.test_loss"]["details"]["trainings"] if one["condition"] == _ADAM]
    assert [one["correlation"] < 0 for one in each] == [True] * 4
    stopping = {kind: long[f"early_stopping_{kind}.stopping"]["details"]["parts"] for kind in ("grid", "corrupted")}
    assert {name for parts in stopping.values() for name, part in parts.items() if part["low"] <= 0 < part["high"]} == {
        _SGD
    }
    assert long["early_stopping_grid.test_loss"]["verdict"] == "inconclusive"
    means = {one["condition"]: one["means"] for one in long["early_stopping_grid.stopping"]["details"]["settings"]}
    [costs] = re.findall(rf"{NUMBER} in place of {NUMBER} with Adam, {NUMBER} in place of {NUMBER} with SGD", text)
    kept = [means[optimizer][by]["test_accuracy"] for optimizer in (_ADAM, _SGD) for by in ("auc", "nothing")]
    assert all(map(same, costs, kept))
    [later] = re.findall(r"(\d+) to (\d+) epochs later, with shuffled", text)
    [before] = re.findall(r"with shuffled labels (\d+) to (\d+) epochs before", text)
    for kind, said, sign in (("grid", later, 1), ("corrupted", before, -1)):
        trainings = long[f"early_stopping_{kind}.downturn"]["details"]["trainings"]
        own = [one for one in trainings if kind == "corrupted" or one["condition"] == _ADAM]
        distances = [sign * (one["downturn"] - one["onset"]) for one in own]
        assert [min(distances), max(distances)] == [int(number) for number in said]


def test_figure_4a_at_500_epochs_has_the_numbers_of_its_runs():
    folder = RESULTS / "dropout_500"
    claims = {claim["id"]: claim for claim in json.loads((folder / "claims.json").read_text())}
    runs = pd.read_csv(folder / "runs.csv", low_memory=False)
    prose = Prose(part("docs/findings.md", "figure 4a at 500 epochs"))
    assert set(runs["config.trainer.max_epochs"]) == {int(*prose.take(r"(\d+) epochs whatever"))}
    assert set(runs["train_images"]) == {int(prose.take(r"(\d+,\d+) images")[0].replace(",", ""))}
    counts, auc = (
        runs.groupby(["corruption", "config.network.dropout"])["auc"].agg(kind) for kind in ("count", "mean")
    )
    fractions = prose.take(rf"dropout {NUMBER}, {NUMBER} and {NUMBER}, n = (\d) each")
    assert {0.0, *map(float, fractions[:3])} == set(auc[0].index) == set(auc[1].index)
    assert set(counts) == {int(fractions[3])}
    verdicts = {name.split(".")[1]: claim["verdict"] for name, claim in claims.items()}
    assert verdicts.pop("against_none") == "not reproduced"
    assert [*verdicts.values()] == ["reproduced"] * 3
    kept = prose.take(rf"keep {NUMBER},\s{NUMBER} and {NUMBER} more")
    assert all(map(same, kept, (one["value"] for one in claims["dropout.against_none"]["details"]["parts"].values())))
    assert all(map(same, prose.take(rf"AUC is {NUMBER} without it and {NUMBER}, {NUMBER}\sand {NUMBER} with"), auc[1]))
    lost = [one["value"] for one in claims["dropout.up_to_the_fraction"]["details"]["parts"].values()]
    assert same(*prose.take(rf"lose {NUMBER} at most"), max(lost))
    less = [one["value"] for one in claims["dropout.past_the_fraction"]["details"]["parts"].values()]
    assert all(map(same, prose.take(rf"keep {NUMBER} to {NUMBER} less"), (min(less), max(less))))
    alike = auc[0][1:]
    assert all(map(same, prose.take(rf"alike \(AUC {NUMBER} to {NUMBER}\)"), (alike.min(), alike.max())))
    assert prose.numbers_left(r"Figure 4a|100 % training|2 cores|2026-11-29|results/dropout_500") == []


def test_figure_2_at_length_has_the_numbers_of_its_runs():
    folder = RESULTS / "ensemble_generalizing"
    claims = {claim["id"]: claim for claim in json.loads((folder / "claims.json").read_text())}
    runs = pd.read_csv(folder / "runs.csv", low_memory=False)
    others = pd.read_csv(RESULTS / "runs.csv", low_memory=False)
    prose = Prose(part("docs/findings.md", "figure 2 at length"))
    networks, images, epochs, tested = (
        int(number.replace(",", ""))
        for number in prose.take(r"(\d+) ConvNets .* seed, ([\d,]+) training images, (\d+) epochs, all ([\d,]+) test")
    )
    assert len(runs) == runs["config.seed"].nunique() == networks
    for column, number in (("train_images", images), ("config.trainer.max_epochs", epochs), ("test_images", tested)):
        assert set(runs[column]) == {number}
    first = others[others["experiment"] == "ensemble"]
    assert prose.take(r"since (\d+) networks of the first setting left it") == (str(len(first)),)
    accuracy = [table["test_accuracy"].mean() for table in (runs, first)]
    assert all(map(same, prose.take(rf"test accuracy of {NUMBER} where the first setting has {NUMBER}"), accuracy))
    assert claims["ensemble.generalization"]["verdict"] == "reproduced"
    assert claims["ensemble.best_and_worst"]["verdict"] == "inconclusive"
    *interval, p = prose.take(rf"Spearman {INTERVAL},\s+reproduced \(corrected p {NUMBER}\)")
    assert agrees(interval, claims["ensemble.generalization"])
    assert same(p, claims["ensemble.generalization"]["p_corrected"])
    main = claims["ensemble.generalization"]
    assert same(*prose.take(rf"doubled, it would be {NUMBER}"), 2 * main["p_corrected"])
    error, tested = runs["generalization_error"], runs["test_accuracy"]
    [orderings] = prose.take(r"By the mean over (\d+) orderings")
    assert set(runs["orderings"]) == {int(orderings)}
    by_curve = vars(correlation(error, runs["auc_normalized"]))
    assert agrees(prose.take(rf"in place of the estimate, the correlation is {INTERVAL}"), by_curve)
    details = main["details"]
    assert agrees(prose.take(rf"given training accuracy it is {INTERVAL}"), details["partial"]["training accuracy"])
    given = vars(partial_correlation(error, runs["estimate_auc"], [runs["train_accuracy"]]))
    assert agrees(prose.take(rf"shows it only given training accuracy \({INTERVAL}"), given)
    assert agrees(prose.take(rf"otherwise {INTERVAL}\)"), details["raw"])
    with_accuracy = vars(correlation(tested, runs["estimate_auc_normalized"]))
    assert agrees(prose.take(rf"hardly correlates \({INTERVAL}\)"), with_accuracy)
    assert agrees(prose.take(rf"remains undecided: {INTERVAL}"), claims["ensemble.best_and_worst"])
    sides = [tested[order].mean() for order in (error.argsort()[:5], error.argsort()[-5:])]
    assert all(map(same, prose.take(rf"lower test accuracy \({NUMBER}\s+and {NUMBER}\)"), sides))
    below, all_of_them, share, least = prose.take(
        rf"(\d+) of the (\d+) have less than (\d+) % training accuracy, the least {NUMBER}"
    )
    poor = runs["train_accuracy"] < int(share) / 100
    assert (poor.sum(), len(runs)) == (int(below), int(all_of_them))
    assert same(least, runs["train_accuracy"].min())
    alone, *without = prose.take(rf"the\s(\d+) others alone give {INTERVAL}")
    assert int(alone) == (~poor).sum()
    [caveat] = [one for one in claims["ensemble.generalization"]["caveats"] if "below 99 %" in one]
    assert all(map(same, without, (float(one.replace("−", "-")) for one in re.findall(NUMBER, caveat)[-3:])))
    assert prose.take(r"after 30 and 63 networks; (\d+) had been planned") == (str(networks),)
    assert prose.numbers_left(r"2[ab] is|2 cores|2026-11-29|results/ensemble_generalizing") == []


def test_figure_4b_at_length_has_the_numbers_of_its_runs(claims):
    folder = RESULTS / "batch_norm_generalizing"
    [claim] = json.loads((folder / "claims.json").read_text())
    runs = pd.read_csv(folder / "runs.csv", low_memory=False)
    on, off = (runs[runs["config.network.batch_norm"] == kind] for kind in (True, False))
    prose = Prose(part("docs/findings.md", "figure 4b at length"))
    counts = prose.take(r"(\d+) ConvNets with batch norm and (\d+) without")
    assert [len(on), len(off), claim["n"]] == [int(number) for number in (*counts, counts[0])]
    images, percent, most = prose.take(r"([\d,]+) training images, trained to (\d+) % training .* or for (\d+)\sepochs")
    assert set(runs["train_images"]) == {int(images.replace(",", ""))}
    assert (on["train_accuracy"] >= int(percent) / 100).all()
    assert set(off["epochs"]) == {int(most)}
    *interval, p = prose.take(rf"AUC is higher by {INTERVAL}, reproduced \(corrected p (0.\d+)\)")
    assert agrees(interval, claim)
    assert same(p, claim["p_corrected"])
    assert claim["verdict"] == "reproduced"
    by_seed = on.set_index("seed")["auc"] - off.set_index("seed")["auc"]
    assert all(
        map(same, prose.take(rf"each of the ten seeds \(by {NUMBER} to {NUMBER}\)"), (by_seed.min(), by_seed.max()))
    )
    assert same(*prose.take(rf"first setting the difference was {NUMBER}"), claims["batch_norm.auc"]["value"])
    others = pd.read_csv(RESULTS / "runs.csv", low_memory=False)
    first = (
        others[others["experiment"] == "batch_norm"]
        .groupby("config.network.batch_norm")[["auc", "test_accuracy"]]
        .mean()
    )
    now = runs.groupby("config.network.batch_norm")[["auc", "test_accuracy"]].mean()
    changed = prose.take(rf"AUC from {NUMBER} to {NUMBER}, test\s+accuracy from {NUMBER} to {NUMBER}\.")
    assert all(map(same, changed, (table[column][True] for column in now for table in (first, now))))
    auc, *tested = prose.take(rf"both hardly changed \(AUC {NUMBER}, test accuracy {NUMBER} and {NUMBER}\)")
    assert all(same(auc, table["auc"][False]) for table in (first, now))
    assert all(map(same, tested, (first["test_accuracy"][False], now["test_accuracy"][False])))
    percent, most, *accuracies, low, high = prose.take(
        rf"none reaches (\d+) %\s+in (\d+) epochs \({NUMBER} to {NUMBER}\), where those with .* take (\d+) to (\d+)\."
    )
    assert off["train_accuracy"].max() < int(percent) / 100
    assert [int(most), int(low), int(high)] == [off["epochs"].max(), on["epochs"].min(), on["epochs"].max()]
    assert all(map(same, accuracies, (off["train_accuracy"].min(), off["train_accuracy"].max())))
    alike = pd.read_csv(RESULTS / "ensemble_generalizing" / "runs.csv", low_memory=False)
    alike = alike[alike["train_accuracy"] <= off["train_accuracy"].max()]
    number, accuracy, *interval = prose.take(
        rf"The (\d+) networks of Figure 2 .*\({NUMBER} in the mean\) have an AUC higher by {INTERVAL}\."
    )
    assert int(number) == len(alike)
    assert all(same(accuracy, table["train_accuracy"].mean()) for table in (alike, off))
    assert agrees(interval, vars(difference(alike.set_index(-alike["seed"] - 1)["auc"], off.set_index("seed")["auc"])))
    assert agrees(prose.take(rf"AUC is still higher by {INTERVAL}"), claim["details"]["normalized"])
    assert prose.take(r"after 9 networks; (\d+)\s+had been planned") == (str(len(runs)),)
    assert prose.numbers_left(r"Figure 4b|2 cores|2026-11-29|results/batch_norm_generalizing") == []


def test_figure_1b_at_length_has_the_numbers_of_its_runs():
    folder = RESULTS / "memorization_generalizing"
    runs = pd.read_csv(folder / "runs.csv", low_memory=False)
    claims = {claim["id"]: claim for claim in json.loads((folder / "claims.json").read_text())}
    claim, groups = claims["memorization_cifar10.auc"], runs.groupby("corruption")
    prose = Prose(part("docs/findings.md", "figure 1b at length"))
    networks, seeds, percent, most = prose.take(
        r"(\d+) networks, (\d+) at each level .* trained to (\d+) % training accuracy or for (\d+) epochs"
    )
    assert (len(runs), set(groups.size())) == (int(networks), {int(seeds)})
    assert set(runs["config.stop_at_train_accuracy"]) == {int(percent) / 100}
    assert set(runs["config.trainer.max_epochs"]) == {int(most)}
    check_levels(prose, claim, groups, verdict=r"reproduced \(")
    assert claim["verdict"] == "reproduced"
    [twice] = prose.take(rf"Doubled, it would be {NUMBER}, and the claim inconclusive")
    assert same(twice, 2 * claim["p_corrected"])
    assert float(twice) > LEVEL
    looked = prose.take(r"looked at after (\d+), (\d+) and (\d+) networks")
    assert max(map(int, looked)) < len(runs)
    dead, of, nothing, chance, low, high = prose.take(
        rf"(\d+) of (\d+) networks do not train at all \(training accuracy {NUMBER}\).*?AUC is {NUMBER}.*? "
        rf"others reach {NUMBER} to {NUMBER}"
    )
    many = runs[runs["corruption"] >= 0.8]
    untrained = many["train_accuracy"] < 0.11
    assert (untrained.sum(), len(many)) == (int(dead), int(of))
    for text, column in ((nothing, "train_accuracy"), (chance, "auc")):
        assert all(same(text, value) for value in many.loc[untrained, column])
    others = many.loc[~untrained, "train_accuracy"]
    assert (same(low, others.min()), same(high, others.max())) == (True, True)
    [mean] = prose.take(rf"With 60 % the training accuracy is {NUMBER} in the mean")
    assert same(mean, groups["train_accuracy"].mean()[0.6])
    *without, left, all_of_them = prose.take(
        rf"99 % training accuracy only 20 and 40 % can be judged, and the difference is the same: {INTERVAL}, "
        r"over (\d) of (\d) levels"
    )
    assert agrees(without, claim["details"]["without_below_99"])
    assert any(f"over {left} of the {all_of_them} levels" in caveat for caveat in claim["caveats"])
    epochs, first, *rest = prose.take(
        rf"for (\d+) epochs on true labels, is\s{NUMBER}, and the differences are {INTERVAL}, {INTERVAL} and {INTERVAL}"
    )
    ensemble = pd.read_csv(RESULTS / "ensemble_generalizing" / "runs.csv", low_memory=False)
    ensemble = ensemble[ensemble["seed"].isin(runs["seed"])].set_index("seed")
    assert set(ensemble["epochs"]) == {int(epochs)}
    assert same(first, ensemble["auc"].mean())
    for place, level in enumerate((0.2, 0.4, 0.6)):
        found = difference(ensemble["auc"], groups.get_group(level).set_index("seed")["auc"])
        assert agrees(rest[3 * place : 3 * place + 3], vars(found))
    levels_left = r"20 %|80 and 100 %|below 99 %|at 20, 40 and 60 %"
    assert prose.numbers_left(rf"Figure 1b|Figure 2|2 cores|20\d\d-11-\d\d|results/\w+|{levels_left}") == []
