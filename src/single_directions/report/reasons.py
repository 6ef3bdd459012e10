"""What the authors of some results say beside their claims: why one holds or not, and how its rule came about."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from single_directions.errors import BadInput
from single_directions.report.claims.judge import CLAIMS

FILE = "reasons.json"
"""A claim's most likely reason, a sentence or more, by its id: ``{"batch_norm.auc": "..."}``."""
HISTORY = "history.json"
"""What was changed about a claim after its outcome was seen, why, and what was said before: see `_BEFORE`."""
_EXAMPLES = {
    FILE: '{"batch_norm.auc": "why, most likely"}',
    HISTORY: '{"batch_norm.auc": {"changed": "what and why", "before": {"verdict": "inconclusive", "value": 0.04, '
    '"low": 0.02, "high": 0.06, "n": 4}}}',
}
_BEFORE = {"verdict", "value", "low", "high", "n"}
_KNOWN = {f"{experiment}.{claim.name}" for claim in CLAIMS for experiment in claim.figures}


def read_reasons(inputs: Sequence[Path]) -> dict[str, str]:
    """The reasons in some folders.

    Where a report judges a claim by several sweeps, the id alone would not say which; then, and wherever it is to be
    said, scale, data and variant follow it as `named` has them.

    Raises:
        BadInput: a file that does not hold that, or the id of no claim.
    """
    return _read(inputs, FILE, lambda text: isinstance(text, str))


def read_history(inputs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The changes in some folders, by claims as in `read_reasons`: ``{"changed": "...", "before": {...}}``.

    `before` is the verdict before the change, with its number. Raises `BadInput` as `read_reasons` does.
    """
    return _read(inputs, HISTORY, _is_change)


def named(claim: Mapping[str, Any]) -> str:
    """A claim's id with what it was judged by: ``batch_norm.auc/paper/image_folder/network.width=0.25``."""
    return "/".join(filter(None, (claim[key] for key in ("id", "scale", "data", "variant"))))


def with_notes(
    claims: Sequence[Mapping[str, Any]], reasons: Mapping[str, str], history: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The claims, each with its `reason` and `history`: of its sweep, or of its id if it has one sweep, or None."""
    ids = [claim["id"] for claim in claims]

    def own(claim: Mapping[str, Any], notes: Mapping[str, Any]) -> Any:
        return notes.get(named(claim), notes.get(claim["id"]) if ids.count(claim["id"]) == 1 else None)

    return [{**claim, "reason": own(claim, reasons), "history": own(claim, history)} for claim in claims]


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
        if unknown := sorted(one for one in notes if one.partition("/")[0] not in _KNOWN):
            raise BadInput(f"{file}: no claim is called {unknown[0]}; there are: {', '.join(sorted(_KNOWN))}")
        found |= notes
    return found
