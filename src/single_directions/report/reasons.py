"""What the authors of some results say: what they are, why a claim holds or not, and how its rule changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from single_directions.errors import BadInput, one_line
from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.judge import Before, Change, Judgement

REASONS = "reasons.json"
"""A claim's most likely reason, by its id."""
ABOUT = "about.txt"
"""What the results of a folder are, in a few sentences for the top of the page."""
HISTORY = "history.json"
"""What was changed about a claim after its outcome was seen, by its id."""
_EXAMPLES = {
    REASONS: '{"batch_norm.auc": "why, most likely"}',
    HISTORY: '{"batch_norm.auc": {"changed": "what and why", "before": {"verdict": "inconclusive", "value": 0.04, '
    '"low": 0.02, "high": 0.06, "n": 4}}}',
}


def read_notes(inputs: Sequence[Path], name: str) -> dict[str, Any]:
    """The notes in some folders' files of a name, `REASONS` (texts) or `HISTORY` (a `Change` each).

    They are by the claim's id or, where several sweeps have the claim, by `Judgement.name`. Raises `BadInput` for a
    file that is not as in `_EXAMPLES`, and for an id that no claim has.
    """
    note_of = {REASONS: _text, HISTORY: _change}[name]
    known = sorted(f"{one.name}.{claim.name}" for one in EXPERIMENTS.values() for claim in one.claims)
    found: dict[str, Any] = {}
    for file in (folder / name for folder in inputs if (folder / name).is_file()):
        try:
            notes = json.loads(file.read_text())
            own = {str(key): note_of(note) for key, note in notes.items()}
        except (OSError, ValueError) as error:
            raise BadInput(f"{file}: cannot be read ({one_line(error)}); fix or remove it") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise BadInput(f"{file}: must be like {_EXAMPLES[name]}, by the ids of claims.json") from error
        if unknown := [key for key in own if key.partition("/")[0] not in known]:
            raise BadInput(f"{file}: no claim is called {unknown[0]}; there are: {', '.join(known)}")
        found |= own
    return found


def read_about(inputs: Sequence[Path]) -> str:
    """What some folders' files `ABOUT` say, each once. Raises `BadInput` for a file that cannot be read."""
    texts: dict[str, None] = {}
    for file in (folder / ABOUT for folder in inputs if (folder / ABOUT).is_file()):
        try:
            texts[" ".join(file.read_text().split())] = None
        except (OSError, ValueError) as error:
            raise BadInput(f"{file}: cannot be read ({one_line(error)}); fix or remove it") from error
    return " ".join(texts)


def with_notes(
    claims: Sequence[Judgement], reasons: Mapping[str, str], history: Mapping[str, Change]
) -> list[Judgement]:
    """The claims with their reasons and changes: those of the claim's sweep, or of its id if it has one sweep."""
    ids = [claim.id for claim in claims]

    def own(claim: Judgement, notes: Mapping[str, Any]) -> Any:
        return notes.get(claim.name, notes.get(claim.id) if ids.count(claim.id) == 1 else None)

    return [replace(claim, reason=own(claim, reasons), history=own(claim, history)) for claim in claims]


def _text(note: Any) -> str:
    if not isinstance(note, str):
        raise TypeError(note)
    return note


def _change(note: Any) -> Change:
    before = Before(**note["before"])
    _text(before.verdict)
    return Change(_text(note["changed"]), before)
