"""Why a claim holds or not, most likely: its authors' words, shown beside what the program says of it."""

import json
from collections.abc import Sequence
from pathlib import Path

from single_directions.errors import BadInput
from single_directions.report.claims.judge import CLAIMS

FILE = "reasons.json"


def read_reasons(inputs: Sequence[Path]) -> dict[str, str]:
    """The reasons in some folders, each a sentence or more by a claim's id: ``{"batch_norm.auc": "..."}``.

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
        if unknown := sorted(reasons.keys() - known):
            raise BadInput(f"{file}: no claim is called {unknown[0]}; there are: {', '.join(sorted(known))}")
        found |= reasons
    return found
