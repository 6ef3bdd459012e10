"""Why a claim holds or not, most likely: its authors' words, shown beside what the program says of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from single_directions.errors import BadInput
from single_directions.report.claims.judge import CLAIMS

FILE = "reasons.json"


def read_reasons(inputs: Sequence[Path]) -> dict[str, str]:
    """The reasons in some folders, each a sentence or more by a claim's id: ``{"batch_norm.auc": "..."}``.

    Where a report judges a claim by several sweeps, the id alone would not say which; then, and wherever it is to be
    said, scale, data and variant follow it as `named` has them.

    Raises:
        BadInput: a file that does not hold that, or the id of no claim.
    """
    known = {f"{experiment}.{claim.name}" for claim in CLAIMS for experiment in claim.figures}
    found: dict[str, str] = {}
    for file in (folder / FILE for folder in inputs):
        if not file.is_file():
            continue
        try:
            reasons = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"{file}: cannot be read ({error}); mend or remove it") from error
        if not isinstance(reasons, dict) or not all(isinstance(text, str) for text in reasons.values()):
            raise BadInput(f'{file}: must be like {{"batch_norm.auc": "why, most likely"}}, by the ids of claims.json')
        if unknown := sorted(name for name in reasons if name.partition("/")[0] not in known):
            raise BadInput(f"{file}: no claim is called {unknown[0]}; there are: {', '.join(sorted(known))}")
        found |= reasons
    return found


def named(claim: Mapping[str, Any]) -> str:
    """A claim's id with what it was judged by: ``batch_norm.auc/paper/image_folder/network.width=0.25``."""
    return "/".join(filter(None, (claim[key] for key in ("id", "scale", "data", "variant"))))


def with_reasons(claims: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> list[dict[str, Any]]:
    """The claims, each with its `reason`: that given for its sweep, or for its id if it has one sweep, or None."""
    ids = [claim["id"] for claim in claims]
    by_id = {name: text for name, text in reasons.items() if ids.count(name) == 1}
    return [{**claim, "reason": reasons.get(named(claim), by_id.get(claim["id"]))} for claim in claims]
