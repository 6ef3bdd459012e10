"""The one exception for input that a user can mend."""


class BadInput(ValueError):
    """Bad input, told in one line: the key or file at fault, and what to do about it."""
