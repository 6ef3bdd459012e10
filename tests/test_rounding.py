"""What counts as rounding when committed files are compared with files made again."""

import pytest
from rounding import differences


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"value": -0.40414107022856355,', '"value": -0.4041410702285636,'),
        ('"value": -0.4041410702,', '"value": -0.4041410702285636,'),
        ("p = 3.9e-05; 0.189 [0.174, 0.205]", "p = 4e-05; 0.190 [0.173, 0.204]"),
        ("ρ \N{MINUS SIGN}0.00", "ρ 0.00"),
        ("0.0", "1.2e-17"),
        ("1,234.567", "1,234.568"),
    ],
)
def test_the_last_digit_of_a_decimal_may_differ(one, other):
    assert differences(one, other) == differences(other, one) == []


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("AUC 0.189", "AUC 0.191", [("0.189", "0.191")]),
        ("0.40414107", "0.40414157", [("0.40414107", "0.40414157")]),
        ("0.25", "\N{MINUS SIGN}0.25", [("0.25", "\N{MINUS SIGN}0.25")]),
        ("n = 4", "n = 5", [("4", "5")]),
        ("of 10,000", "of 10,001", [("10,000", "10,001")]),
        ("torch 2.14.1", "torch 2.14.2", [("torch 2.14.1", "torch 2.14.2")]),
        ("hash 382a43fe5b", "hash 382a43fe5c", [("hash 382a43fe5b", "hash 382a43fe5c")]),
        ("3.9e-05", "3.9e-04", [("3.9e-05", "3.9e-04")]),
        ("**reproduced**: 0.5", "**inconclusive**: 0.5", [("**reproduced**: ", "**inconclusive**: ")]),
        ("0.5", "0.5 and more", [("", " and more")]),
        (
            "0.5",
            "–",
            [
                ("", "–"),
                ("0.5", ""),
            ],
        ),
    ],
)
def test_all_else_is_a_difference(one, other, told):
    assert differences(one, other) == told
