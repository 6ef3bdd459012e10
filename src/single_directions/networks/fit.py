"""Checks that a network fits its images and classes."""

from collections.abc import Sequence
from math import isfinite
from numbers import Integral

from single_directions.errors import BadInput


def is_count(value: object) -> bool:
    """Whether `value` is a whole number of at least 1 (`True` is not)."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def check_fit(network: str, input_shape: Sequence[int], classes: int, least: int = 1) -> tuple[int, int, int]:
    """Checks the input shape and the number of classes, and returns the shape (C, H, W) as a tuple of ints.

    `least` is the smallest height and width in pixels. Raises `BadInput` for a shape that is not (C, H, W), for smaller
    images and for fewer than 2 classes.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not all(map(is_count, shape)):
        raise BadInput(f"{network}: input_shape must be (channels, height, width), not {shape}")
    channels, height, width = map(int, shape)
    if min(height, width) < least:
        raise BadInput(
            f"{network} needs images of at least {least} x {least} pixels, these have {height} x {width}: "
            "choose another network or larger images"
        )
    if not is_count(classes) or classes < 2:
        raise BadInput(f"{network}: a classifier needs at least 2 classes, not {classes}")
    return channels, height, width


def check_width(width: object) -> None:
    """Raises `BadInput` for a factor of the number of feature maps that is no finite number above 0."""
    if not isinstance(width, (int, float)) or not (width > 0 and isfinite(width)):
        raise BadInput(f"network.width must be above 0, not {width}")
