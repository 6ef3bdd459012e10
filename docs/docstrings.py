"""An extension of Griffe for this project's docstrings, which mkdocs.yml names."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
SEVERAL = re.compile(r"^ +\w+(?:, \w+)+:", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Shows examples, lines that begin with `>>>`, as code, and attributes that share an entry as one name."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute that was read."""
        if obj.docstring:
            text = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
            # Griffe takes what follows a space for a type.
            obj.docstring.value = SEVERAL.sub(lambda found: found[0].replace(", ", ",\N{NO-BREAK SPACE}"), text)
