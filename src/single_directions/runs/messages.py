"""What a user is told when something that a configuration names fails: which key, and where in the user's own files."""

import difflib
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

import hydra
import torch
from hydra.errors import InstantiationException

import single_directions
from single_directions.errors import BadInput, first_line

_INSTALLED = (
    *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")),
    *(Path(str(module.__file__)).resolve().parents[1] for module in (torch, hydra, single_directions)),
)
"""Folders of code that is not the user's."""
_KEYS = dict.fromkeys(("sites", "clamp", "top_k", "method", "samples", "orderings", "points"), "ablation.")
_EVERY_EPOCH = ("samples", "every_n_epochs")


class CodeFailed(BadInput):
    """Code of the user's that the configuration names has failed: the run keeps the traceback."""


def failed(what: str, error: BaseException, hint: str = "") -> BadInput:
    """The error to raise where something that the configuration names has failed: `what: cause (file, line)`."""
    place = place_of(error)
    message = f"{what}: {first_line(error)}{hint}"
    if isinstance(error, SyntaxError):  # its message names the file
        return CodeFailed(message)
    return CodeFailed(f"{message} ({place})") if place else BadInput(message)


def cause_of(error: InstantiationException, target: str) -> tuple[BaseException, str]:
    """The cause behind Hydra's exception, and in words which part of `target` does not exist ("" if all does)."""
    cause: BaseException = error
    while isinstance(cause, InstantiationException) or str(cause).startswith(f"Error loading '{target}'"):
        if cause.__cause__ is None:
            break
        cause = cause.__cause__
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    if missing is None or not f"{target}.".startswith(f"{missing}."):
        return cause, ""
    parent, _, name = missing.rpartition(".")
    if not parent:
        return cause, f"there is no module {name} to import; is its folder in PYTHONPATH?"
    there = vars(sys.modules.get(parent, ModuleType(parent)))
    close = difflib.get_close_matches(name, [one for one in there if not one.startswith("_")], 1)
    return cause, f"{parent} has no {name}{f'; did you mean {parent}.{close[0]}?' if close else ''}"


def place_of(error: BaseException) -> str:
    """The file and line of the user's code that raised an exception; "" where no such code was involved."""
    for frame in reversed(extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if not frame.filename.startswith("<") and not any(file.resolve().is_relative_to(one) for one in _INSTALLED):
            return f"{file.name}, line {frame.lineno}"
    return ""


@contextmanager
def in_keys(every_epoch: Iterable[str] | None = None) -> Iterator[None]:
    """Within it a `BadInput` of the measurement names keys such as `ablation.sites`. Warnings do too, at its end.

    `every_epoch` are the keys of the measurement during training: they become `ablation.every_epoch.samples` and the
    like. Warnings of a training stay as they are.
    """
    prefixes = dict(_KEYS)
    if every_epoch is not None:
        prefixes |= dict.fromkeys((*_EVERY_EPOCH, *every_epoch), "ablation.every_epoch.")
    caught: list[warnings.WarningMessage] = []
    try:
        if every_epoch is None:
            with warnings.catch_warnings(record=True) as caught:
                yield
        else:  # a training is too long for warnings to wait for its end
            yield
    except BadInput as error:
        renamed = _in_keys(str(error), prefixes)
        if renamed == str(error):
            raise
        raise type(error)(renamed) from error.__cause__ or error
    finally:
        for warning in caught:
            warnings.warn(_in_keys(str(warning.message), prefixes), warning.category, stacklevel=3)


def _in_keys(message: str, prefixes: dict[str, str]) -> str:
    message = re.sub(r"(?<![\w.])(\w+)(?==)", lambda key: f"{prefixes.get(key[0], '')}{key[0]}", message)
    message = re.sub(r"^(\w+)(?=: )", lambda key: f"{prefixes.get(key[0], '')}{key[0]}", message)
    message = re.sub(r"^batches: ", "data: ", message)
    message = message.replace('="all"', "=all").replace(", or None for", ", or null for")
    return f"{prefixes['sites']}sites: {message}" if message.startswith("site ") else message
