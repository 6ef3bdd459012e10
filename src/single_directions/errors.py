"""The one exception for input that a user can fix, and one way to report any exception in one line."""


class BadInput(ValueError):
    """Bad input, reported in one line: the key or file at fault, and what to do about it."""


def one_line(error: BaseException) -> str:
    """The first line of an exception's message, or its kind where it has no message.

    >>> one_line(ValueError("width must be above 0\\nand more")), one_line(ValueError())
    ('width must be above 0', 'ValueError')
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def first_line(error: BaseException) -> str:
    """`one_line` after the type of the exception, unless that is `BadInput`.

    >>> first_line(KeyError("seed")), first_line(BadInput("seed must be a number"))
    ("KeyError: 'seed'", 'seed must be a number')
    """
    kind, line = type(error).__name__, one_line(error)
    return line if line == kind or isinstance(error, BadInput) else f"{kind}: {line}"
