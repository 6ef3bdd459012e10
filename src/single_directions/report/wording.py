"""Numbers and claims in words, the same on the page and in the terminal."""

from math import isfinite
from typing import Any

Claim = dict[str, Any]


def number(value: Any, digits: int = 3) -> str:
    """A number for reading: a true minus sign, "–" where there is none."""
    if value is None or value != value or not isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(value: Any, low: Any, high: Any, digits: int = 3) -> str:
    """`0.31 [0.20, 0.42]`, or the value alone."""
    if number(low) == "–" or number(high) == "–":
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def estimate(claim: Claim) -> str:
    """A claim's statistic with its 95 % interval."""
    return interval(claim["value"], claim["low"], claim["high"])


def count(amount: int, noun: str) -> str:
    """`1 network`, `2 networks`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def duration(seconds: float) -> str:
    """`8.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def leaning(claim: Claim) -> str:
    """Whether a claim holds: "yes", "no", or "open"."""
    return {"reproduced": "yes", "not reproduced": "no"}.get(claim["verdict"], "open")


def verdict(claim: Claim) -> str:
    """The verdict for reading; at demo scale it is about the demonstration's data, not the paper's."""
    if claim["scale"] == "paper":
        return str(claim["verdict"])
    held = {"yes": "holds on", "no": "does not hold on", "open": "inconclusive on"}[leaning(claim)]
    return f"{held} {claim['data']}"
