"""What the authors of some results say beside their claims: why one holds or not, and how its rule came about."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from single_directions.errors import BadInput
from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.judge import Before, Change, Judgement

FILE = "reasons.json"
"""A claim's most likely reason, a sentence or more, by its id: ``{"batch_norm.auc": "..."}``."""
HISTORY = "history.json"
"""What was changed about a claim after its outcome was seen, why, and what was said before: see `Change`."""
_EXAMPLES = {
    FILE: '{"batch_norm.auc": "why, most likely"}',
    HISTORY: '{"batch_norm.auc": {"changed": "what and why", "before": {"verdict": "inconclusive", "value": 0.04, '
    '"low": 0.02, "high": 0.06, "n": 4}}}',
}
_BEFORE = {"verdict", "value", "low", "high", "n"}


def read_reasons(inputs: Sequence[Path]) -> dict[str, str]:
    """The reasons in some folders.

    Where a report judges a claim by several sweeps, the id alone would not say which; then, and wherever it is to be
    said, scale, data and variant follow it as in `Judgement.name`.

    Raises:
        BadInput: a file that does not hold that, or the id of no claim.
    """
    return _read(inputs, FILE, lambda text: isinstance(text, str))


def read_history(inputs: Sequence[Path]) -> dict[str, Change]:
    """The changes in some folders, by claims as in `read_reasons`. Raises `BadInput` as `read_reasons` does."""
    found = _read(inputs, HISTORY, _is_change)
    return {name: Change(note["changed"], Before(**note["before"])) for name, note in found.items()}


def with_notes(
    claims: Sequence[Judgement], reasons: Mapping[str, str], history: Mapping[str, Change]
) -> list[Judgement]:
    """The claims with their reasons and changes: those of the claim's sweep, or of its id if it has one sweep."""
    ids = [claim.id for claim in claims]

    def own(claim: Judgement, notes: Mapping[str, Any]) -> Any:
        return notes.get(claim.name, notes.get(claim.id) if ids.count(claim.id) == 1 else None)

    return [replace(claim, reason=own(claim, reasons), history=own(claim, history)) for claim in claims]


def _is_change(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("changed"), str)
        and isinstance(before := value.get("before"), dict)
        and set(before) == _BEFORE
    )


def _read(inputs: Sequence[Path], name: str, is_note: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in (folder / name for folder in inputs):
        if not file.is_file():
            continue
        try:
            notes = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"{file}: cannot be read ({error}); mend or remove it") from error
        if not isinstance(notes, dict) or not all(map(is_note, notes.values())):
            raise BadInput(f"{file}: must be like {_EXAMPLES[name]}, by the ids of claims.json")
        known = {f"{one.name}.{claim.name}" for one in EXPERIMENTS.values() for claim in one.claims}
        if unknown := sorted(one for one in notes if one.partition("/")[0] not in known):
            raise BadInput(f"{file}: no claim is called {unknown[0]}; there are: {', '.join(sorted(known))}")
        found |= notes
    return found
