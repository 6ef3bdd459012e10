"""Which figures README says were made from which data."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = {"mnist": "MNIST", "image_folder": "CIFAR-10"}
"""CIFAR-10 was read from a folder of images."""


def test_readme_says_which_figures_are_of_which_data():
    """A number alone, as 3, stands for a figure's parts, 3a and 3b."""
    claims = json.loads((ROOT / "docs" / "results" / "claims.json").read_text())
    text = " ".join((ROOT / "README.md").read_text().split())
    [lists] = re.findall(r"on MNIST \(([^)]*)\) and CIFAR-10 \(([^)]*)\)", text)
    for data, part in zip(DATA, lists, strict=True):
        listed = tuple(part.split(", "))
        made = {claim["figure"] for claim in claims if claim["data"] == data}
        assert all(figure.startswith(listed) for figure in made)
        assert all(any(figure.startswith(one) for figure in made) for one in listed)
    assert {claim["data"] for claim in claims} == set(DATA)
    assert all("data.root=cifar10" in claim["variant"] for claim in claims if claim["data"] == "image_folder")
