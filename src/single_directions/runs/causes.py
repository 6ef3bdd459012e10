"""Why code that a configuration names failed, and where in the user's files."""

import difflib
import sys
import sysconfig
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
