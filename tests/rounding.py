"""Compares committed files with files that another machine makes of the same tables, where last digits differ."""

import re
from itertools import islice, zip_longest

NUMBER = re.compile(r"(?<![\w.])[-\N{MINUS SIGN}]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w|\.\d)")
"""A whole number: none of the digits in a hash, a version or a name."""
RELATIVE, NOTHING = 1e-8, 1e-12
"""What counts as rounding: a share of a number, and what is as good as zero."""


def differences(one: str, other: str, most: int = 5) -> list[tuple[str, str]]:
    """The first places where two texts differ by more than rounding: text, integers, or decimals.

    Decimals are alike if they differ by no more than one unit in the last digit of the one with fewer.
    """
    if one == other:
        return []
    found = zip_longest(*map(_parts, (one, other)), fillvalue="")
    return list(islice(((a, b) for a, b in found if not _alike(a, b)), most))


def _parts(text: str) -> list[str]:
    """Text, number, text, number, ..."""
    return re.split(f"({NUMBER.pattern})", text)


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    if not all(NUMBER.fullmatch(part) and set(part) & set(".e") for part in (one, other)):
        return False
    a, b = (float(_plain(part)) for part in (one, other))
    return abs(a - b) <= 1.001 * max(_unit(one), _unit(other), RELATIVE * abs(a), NOTHING)


def _plain(number: str) -> str:
    return number.replace("\N{MINUS SIGN}", "-").replace(",", "")


def _unit(number: str) -> float:
    """One in the last digit: 0.01 of 0.25, 1e-06 of 2.5e-05."""
    digits, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
