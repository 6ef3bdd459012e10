"""The Markdown files of a report, and the folder of results that is committed."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from constructed import tables
from rounding import differences

from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.judge import judge
from single_directions.experiments.reading import read_tables
from single_directions.experiments.section import sections_of
from single_directions.report.cli import report
from single_directions.report.page import page_of
from single_directions.report.render import markdown

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def pages():
    whole = tables(dict.fromkeys(EXPERIMENTS, 2))
    sections = sections_of(whole, judge(whole))
    return markdown(page_of(whole, sections, [[] for _ in sections])), sections


def test_there_is_a_page_an_experiment_with_all_its_claims(pages):
    written, sections = pages
    assert set(written) == {"README.md", *(f"{name}.md" for name in EXPERIMENTS)}
    for section in sections:
        page = written[f"{section.experiment.name}.md"]
        for claim in section.claims:
            assert f"### {claim.claim.paper[:1].upper()}{claim.claim.paper[1:]}\n\n**{claim.verdict}**\n" in page
            assert f"n = {claim.n}" in page
            assert claim.claim.statistic in written["README.md"]
        assert f"({section.experiment.name}.md)" in written["README.md"]
        assert "By condition" in page
        assert "1297" in page.replace(",", "")


def written(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir() if file.suffix in (".md", ".json", ".csv")}


def rebuild(monkeypatch, folder: Path, output: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", str(folder), "--output", str(output), "--markdown"])
    report()


def test_pages_are_rebuilt_from_their_own_small_tables(monkeypatch, made, tmp_path):
    made(corruption=0, seed=0, epochs=2)
    made(experiment="tuning", config={"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}})
    rebuild(monkeypatch, made(corruption=1, variant="network.hidden=[8,8]", epochs=2), tmp_path / "out")
    first = written(tmp_path / "out")
    rebuild(monkeypatch, tmp_path / "out", tmp_path / "out")
    assert written(tmp_path / "out") == first
    assert {"README.md", "memorization.md"} <= set(first)
    assert list((tmp_path / "out").glob("figure_*.png"))
    assert not [*(tmp_path / "out").glob("*.svg"), *(tmp_path / "out").glob("*.html")]
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    assert curves["epoch"].isna().all()
    assert curves["run"].notna().sum() == 3
    assert "0.333333\n" in (tmp_path / "out" / "epochs.csv").read_text().replace(",", "\n")
    assert read_tables([tmp_path / "out"]).curves["run"].value_counts().tolist() == [4, 4, 4]
    assert "Finished**: 20" in first["memorization.md"]
    assert "**Figures**: `python scripts/report.py runs` draws them" in first["memorization.md"]


@pytest.mark.parametrize(
    "folder", [RESULTS, *sorted(path.parent for path in RESULTS.glob("*/claims.json"))], ids=lambda folder: folder.name
)
def test_committed_results_are_rebuilt_from_their_tables(folder, monkeypatch, tmp_path):
    if not (folder / "runs.csv").is_file():
        pytest.skip("there are no results")
    rebuild(monkeypatch, folder, tmp_path)
    rebuilt, committed = written(tmp_path), written(folder)
    assert {name: found for name in rebuilt if (found := differences(rebuilt[name], committed.get(name, "")))} == {}
