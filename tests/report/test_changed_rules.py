"""What was changed after outcomes had been seen: it stands beside each claim's verdict in docs/results."""

import json
import re
from pathlib import Path

import pytest

from single_directions.experiments.wording import sentence

RESULTS = Path(__file__).parents[2] / "docs" / "results"
HISTORY = json.loads((RESULTS / "history.json").read_text())
CLAIMS = json.loads((RESULTS / "claims.json").read_text())


def plain(text):
    """Without Markdown's escapes."""
    return re.sub(r"\\(.)", r"\1", " ".join(text.split()))


@pytest.mark.parametrize("claim", [one for one in CLAIMS if one["id"] in HISTORY], ids=lambda claim: claim["id"])
def test_each_change_stands_beside_its_verdict(claim):
    page = plain((RESULTS / f"{claim['experiment']}.md").read_text())
    starts = [page.index(sentence(one["paper"])) for one in CLAIMS if one["experiment"] == claim["experiment"]]
    start = page.index(sentence(claim["paper"]))
    own = page[start : min((other for other in starts if other > start), default=len(page))]
    assert HISTORY[claim["id"]]["changed"] in own


@pytest.mark.parametrize("name", ["generalization", "within_clusters", "best_and_worst"])
def test_the_ensembles_claims_say_that_it_was_enlarged_after_a_look(name):
    changed = HISTORY[f"ensemble.{name}"]["changed"]
    assert "wenty networks" in changed
    assert "thirty more" in changed


def test_the_clusters_rule_is_said_to_be_changed_after_a_look():
    assert HISTORY["ensemble.within_clusters"]["changed"].startswith(
        "How clusters are found was changed after twenty networks had been looked at"
    )
