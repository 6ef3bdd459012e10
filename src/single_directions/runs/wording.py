"""Rewrites messages about arguments of the measurement as messages about keys of the configuration."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from single_directions.errors import BadInput

_KEYS = dict.fromkeys(("sites", "clamp", "top_k", "method", "samples", "orderings", "points"), "ablation.")
_EVERY_EPOCH = ("samples", "orderings", "points", "every_n_epochs")


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
    return f"ablation.sites: {message}" if message.startswith("site ") else message
