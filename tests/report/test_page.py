"""The page: well-formed, self-contained, escaped, and complete."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from constructed import tables

from single_directions.experiments.ensemble import ESTIMATED
from single_directions.experiments.experiment import EXPERIMENTS, papers
from single_directions.experiments.judge import Before, Change, judge
from single_directions.experiments.section import sections_of
from single_directions.experiments.tables import Tables
from single_directions.experiments.training import by_run
from single_directions.experiments.wording import number
from single_directions.report.page import page_of
from single_directions.report.reasons import with_notes
from single_directions.report.render import html as html_of
from single_directions.report.views import Figure


def render(whole, claims=None):
    """The page of some tables, with one figure a section."""
    sections = sections_of(whole, judge(whole) if claims is None else claims)
    return html_of(page_of(whole, sections, [[Figure("figure_x", "a <caption>", "<svg/>")] for _ in sections]))


@pytest.fixture(scope="module")
def text():
    return render(tables(dict.fromkeys(EXPERIMENTS, 2)))


def words(html):
    """What a reader sees."""
    return " ".join(" ".join(ElementTree.fromstring(html.partition("\n")[2]).itertext()).split())


def part(html, place):
    """What a reader sees of the section with an id."""
    root = ElementTree.fromstring(html.partition("\n")[2])
    [section] = [one for one in root.iter("section") if one.get("id") == place]
    return " ".join(" ".join(section.itertext()).split())


class Tags(HTMLParser):
    """Collects all elements with their attributes, as a browser reads them."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def elements(html):
    parser = Tags()
    parser.feed(html)
    return parser.found


def test_page_is_well_formed(text):
    assert text.startswith("<!DOCTYPE html>\n<html")
    ElementTree.fromstring(text.partition("\n")[2])  # raises where something is not closed


def test_page_needs_nothing_else(text):
    found = elements(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found}
    for _, attributes in found:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    policies = [attributes["content"] for tag, attributes in found if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_links_lead_somewhere_and_ids_are_unique(text):
    found = elements(text)
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {attributes["href"][1:] for tag, attributes in found if tag == "a"} <= set(ids)


def test_every_figure_has_words_for_who_cannot_see_it(text):
    images = [attributes for tag, attributes in elements(text) if tag == "img"]
    assert len(images) == len(EXPERIMENTS)
    assert {image["alt"] for image in images} == {"a <caption>"}


def test_what_comes_from_files_is_escaped():
    whole = tables({"memorization": 1})
    evil = "<script>alert('x')</script>"
    runs = whole.runs.assign(state=["failed", "done", "done"], reason=[evil, "", ""], variant="network=<b>&amp;")
    runs["device.name"] = '"><img src=x onerror=alert(1)>'
    html = render(whole.of(runs))
    assert not {"script", "b"} & {tag for tag, _ in elements(html)}
    assert not any("onerror" in attributes for _, attributes in elements(html))
    assert evil in words(html)


def test_claims_stand_at_the_top_with_all_that_belongs_to_them():
    whole = tables({"early_stopping": 5})
    claims = judge(whole)
    html = render(whole, claims)
    [claim] = [claim for claim in claims if claim.figure == "3b"]
    top = part(html, "claims")
    for told in (claim.claim.paper[1:], claim.verdict, claim.claim.statistic, "\N{MINUS SIGN}0.728"):
        assert told in top
    assert f"{claim.value:.3f} [{claim.low:.3f}, {claim.high:.3f}]".replace("-", "\N{MINUS SIGN}") in top
    assert f"Rule {claim.rule[:1].upper()}{claim.rule[1:]}" in part(html, "early_stopping")


@pytest.mark.parametrize(("holds", "colour"), [(True, "yes"), (False, "no"), (None, "open")])
def test_verdicts_have_colours_and_are_counted(holds, colour):
    whole = tables({"batch_norm": 1})
    claims = [replace(claim, holds=holds) for claim in judge(whole)]
    html = render(whole, claims)
    assert f'<span class="verdict {colour}">{claims[0].verdict}</span>' in html
    counts = re.findall(r"(claims that hold|do not hold|inconclusive)</dt><dd>(\d)", html)
    assert [int(number) for _, number in counts] == [colour == which for which in ("yes", "no", "open")]


def test_what_departs_from_the_paper_is_told_once_a_section():
    whole = tables({"early_stopping": 4})
    seen = words(render(whole))
    assert seen.count("data digits in place of mnist") == 1


def test_images_of_a_folder_are_named_and_that_runs_are_reduced_stands_beside_their_claims():
    whole = tables({"batch_norm": 4})
    variant = "data.root=cifar10,data.train_samples=10000,trainer.max_epochs=60,trainer.precision=bf16-mixed"
    own = {"config.data.root": "cifar10", "config.data.train_samples": 10000, "config.trainer.precision": "bf16-mixed"}
    runs = whole.runs.assign(scale="paper", data="image_folder", variant=variant, **own)
    html = render(whole.of(runs))
    seen, claims = words(html), part(html, "claims")
    place = (
        "cifar10 (a folder of images) at paper scale, 10,000 training images, at most 60 epochs, precision bf16-mixed"
    )
    assert seen.count(place) >= 2  # what was run, the section
    assert "cifar10 at paper scale (reduced)" in claims
    assert seen.count("(reduced): the data, the network or the training are smaller") == 1
    assert "(reduced): the data" in claims
    assert "not the paper's data" not in seen  # the caveat, told once for all
    departed = seen[seen.index("Not as in the paper:") :]
    for told in ("data cifar10 (a folder of images) in place of cifar10", "train_samples 10000 in place of all",
                 "trainer.precision bf16-mixed in place of 32"):  # fmt: skip
        assert told in departed


def test_main_claims_alone_are_counted():
    whole = tables({"memorization": 4, "early_stopping_grid": 4})
    html = render(whole, [replace(claim, holds=True) for claim in judge(whole)])
    assert re.findall(r"main claims that hold</dt><dd>(\d)", html) == ["1"]
    seen = part(html, "claims")
    groups = ["The main claim of each figure", "The same claims with more settings than in the paper", "Checks"]
    places = [seen.index(group) for group in groups]
    assert places == sorted(places)
    assert seen.index("The training accuracy is approximately 1") > places[2]
    assert "These are not claims" in seen


def test_what_was_changed_stands_beside_the_verdict():
    whole = tables({"batch_norm": 4})
    before = Before("holds, as was said", 0.25, 0.125, 0.5, 9)
    history = {"batch_norm.auc": Change("a margin was set, <since> two had one each.", before)}
    html = render(whole, with_notes(judge(whole), {}, history))
    top, rest = part(html, "changed"), part(html, "batch_norm")
    assert "Rules that were changed" in top
    for told in ("holds, as was said", "0.250 [0.125, 0.500], n = 9", "a margin was set, <since> two had one each."):
        assert told in top
        assert told in rest
    assert "Rules that were changed" not in words(render(whole))


def test_networks_trained_twice_count_once():
    whole = tables({"memorization": 2})
    runs = whole.runs.assign(auc_std=0.01, label_hash="1")
    again = runs.head(1).assign(
        experiment="batch_norm", run="batch_norm/demo-digits/seed=0", **{"config.experiment": "b"}
    )
    html = render(Tables(pd.concat([runs, again], ignore_index=True), whole.curves, whole.epochs))
    assert "networks measured</dt><dd>6</dd>" in html
    told = "1 of them trained a network that another run had trained under another name (batch_norm and memorization)"
    assert f"7 runs, 7 of them done, each with one training and one final measurement. {told}" in words(html)
    assert "there are 6 different networks" in words(html)


def test_each_part_of_a_claim_has_its_p():
    html = render(tables({"memorization": 4}))
    assert all(f'<th scope="col">{head}</th>' in html for head in ("By the interval alone", "Effect size", "p"))


def test_patience_stands_beside_what_stopping_would_have_cost():
    seen = words(render(tables({"early_stopping": 5})))
    assert "with patience 5: a training stops after 5 measurements in a row" in seen
    assert "A training with early_stopping=auc has patience 10 by default" in seen


def test_missing_experiments_are_named_with_their_command(text):
    assert "Not among these runs" not in words(text)
    missing = part(render(tables({"memorization": 1})), "missing")
    found = set(re.findall(r"train.py -m experiment=(\w+)", missing))
    assert found == {one.name for one in papers()} - {"memorization"}


def test_partial_sweeps_are_told_with_their_n(text):
    assert (
        "Partial: 18 of 24 runs of this sweep are not done (18 missing). "
        "To run the rest: python scripts/train.py -m experiment=memorization" in words(text)
    )
    whole = tables({"early_stopping": 5})
    assert "Partial" not in words(render(whole))
    seen = words(render(whole.of(whole.runs.assign(state=["done"] * 4 + ["failed"]))))
    told = "1 of 5 runs of this sweep are not done (1 failed): seed=4"
    assert f"Partial: {told}." in seen
    assert told in seen[seen.index("How many trainings and measurements") :]
    assert seen.count(told) > 4  # and beside each claim


def test_a_variant_is_not_partial_for_being_small():
    whole = tables({"early_stopping": 2})
    assert "Partial" not in words(render(whole.of(whole.runs.assign(variant="x=1"))))
    runs = whole.runs.assign(variant="x=1", state=["done", "failed"])
    seen = words(render(whole.of(runs)))
    assert "Partial: 1 of 2 runs of this sweep are not done (1 failed): seed=1." in seen
    assert "To run the rest" not in seen


def test_runs_that_are_not_done_are_listed_with_their_reason():
    whole = tables({"early_stopping": 2})
    runs = whole.runs.assign(state=["done", "broken"], reason=["", "summary.json is missing"])
    seen = words(render(whole.of(runs)))
    assert "early_stopping/demo-digits/seed=1 broken summary.json is missing" in seen


def test_runs_of_other_experiments_are_shown():
    whole = tables({"memorization": 1})
    runs = whole.runs.assign(experiment=["single", "memorization", "memorization"])
    runs.loc[0, "run"] = "single/demo-digits/default"
    seen = words(render(whole.of(runs)))
    assert "single/demo-digits/default" in seen[seen.index("Other runs") :]


def test_by_condition_is_what_was_worked_out_by_hand():
    whole = tables({"batch_norm": 2})
    runs = whole.runs.assign(
        auc=[0.5, 0.7, 0.2, 0.2],
        auc_std=[0.3, 0.4, 0.1, 0.1],
        train_accuracy=[1, 0.9, 1, 1],
        train_loss=[1e-4, 3e-4, 1, 1],
        test_loss=[11.0, 13, 1, 1],
    )
    html = render(whole.of(runs), [])
    [row] = re.findall(r"<tr><td><span[^>]*>with batch norm</span></td>.*?</tr>", html)
    cells = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
    assert cells[:3] == ["with batch norm", "2", "0.950"]
    assert cells[4:6] == ["0.00020", "12"]
    # The mean of 0.5 and 0.7; t with one degree of freedom is 12.706, times the standard error of 0.1.
    assert cells[6] == "0.600 [0.000, 1.000]"  # from -0.671 to 1.871, but an area lies between 0 and 1
    assert cells[8:] == ["0.354", "0.141"]  # the root mean square of 0.3 and 0.4; the deviation of 0.5 and 0.7


def test_trainings_are_listed_with_their_turns():
    whole = tables({"early_stopping": 1})
    epochs = pd.DataFrame(
        {
            "run": whole.runs["run"].iloc[0],
            "epoch": [1, 2, 3],
            "train/loss": [3.0, 2, 1],
            "test/loss": [2.0, 1.5, 3],
            "ablation/auc_normalized": [0.1, 0.2, 0.4],
        }
    )
    html = render(Tables(whole.runs, whole.curves, epochs), [])
    [row] = re.findall(r"<tr><td><span[^>]*>all networks</span></td><td>0</td>.*?</tr>", html)
    cells = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
    assert cells[2:] == ["0.500", "0.400", "3", "3.000", "1.500", "2", "3"]


def test_what_the_auc_follows_is_told_for_each_condition():
    whole = tables({"early_stopping_corrupted": 2})
    html = render(whole)
    rows = html.partition("What the AUC follows")[2].partition("</table>")[0]
    told = [
        by_run(whole)[run].followed["test loss from there on"] for run in whole.runs["run"] if "optimizer=adam" in run
    ]
    assert len(told) == 2
    mean = number(sum(told) / 2, 2)
    assert f"{mean} ({number(min(told), 2)} to {number(max(told), 2)})" in rows.partition("ADAM")[2]


def test_experiments_that_count_are_those_whose_claims_count():
    others = ("early_stopping_grid", "early_stopping_corrupted", "ensemble_learning_rates")
    assert "1 of 7" in words(render(tables(dict.fromkeys((*others, "dropout"), 1))))


def test_value_and_p_are_said_to_be_of_which_part():
    whole = tables({"memorization": 4})
    claims = judge(whole)
    [claim] = [claim for claim in claims if claim.id == "memorization.auc"]
    told = f"the value is for {claim.label}, which is {{}} of the {claim.judged} levels of corruption judged"
    words_of = words(render(whole, [replace(claim, p_label="corruption 7")]))
    least = told.format("the least clear")
    assert words_of.count(f"{least}; p is for corruption 7, where it is largest") == 2  # in table and section
    against = {**claim.parts, claim.label: replace(claim.parts[claim.label], holds=False)}
    refuted = f"{told.format('the farthest from the claim')}; p is {claim.judged} times the p of corruption 7, because"
    assert refuted in words(render(whole, [replace(claim, parts=against, p_label="corruption 7")]))


def test_what_figure_2_measures_is_named_where_it_is_an_estimate():
    whole = tables({"ensemble": 6})
    assert ESTIMATED not in words(render(whole)).partition("Reproducibility checklist")[2]
    runs = whole.runs.assign(estimate_auc=0.5, estimate_auc_normalized=0.5)
    seen = words(render(whole.of(runs))).partition("Reproducibility checklist")[2]
    assert f"In Figure 2 (ensemble) a network's AUC is {ESTIMATED}" in seen


def test_the_checklist_is_answered(text):
    seen = words(text)
    checklist = seen[seen.index("Reproducibility checklist") :]
    for asked in ("Which data", "hyperparameters", "How many trainings", "statistic defined", "spread", "compute"):
        assert asked in checklist
    assert f"{len(tables(dict.fromkeys(EXPERIMENTS, 2)).runs)} of them done" in checklist


@pytest.mark.parametrize(("normalize", "told"), [
    ((True, True), "deviation for each channel. "),
    ((np.nan, np.nan), "deviation for each channel. "),  # runs that are older than the key
    ((False, False), "Pixels lie between 0 and 1. "),
    ((True, False), "deviation for each channel, or lie between 0 and 1, as an experiment's settings say"),
])  # fmt: skip
def test_the_checklist_says_how_pixels_were_scaled(normalize, told):
    whole = tables({"memorization": 2})
    values = [normalize[number % 2] for number in range(len(whole.runs))]
    seen = words(render(whole.of(whole.runs.assign(**{"config.data.normalize": values}))))
    assert told in seen.partition("Which data, and how are they split?")[2]


@pytest.mark.parametrize(("monitor", "told"), [
    (np.nan, "No test image decided a setting or the end of a training"),
    ("train/loss", "No test image decided a setting or the end of a training"),
    ("test/loss", "There is none: 2 runs could be stopped by their results on the test images"),
])  # fmt: skip
def test_the_checklist_says_whether_test_images_ended_trainings(monitor, told):
    whole = tables({"early_stopping": 2})
    seen = words(render(whole.of(whole.runs.assign(**{"config.early_stopping.monitor": monitor}))))
    assert told in seen.partition("Is there a validation set?")[2]
