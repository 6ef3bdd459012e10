"""Seeds derived from a run's seed, one for each purpose and epoch."""

import hashlib


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """The seed for a purpose and an epoch: 63 bits, the same on every machine.

    An epoch seeded by it draws the same numbers in a resumed training as in one that was never interrupted.
    """
    digest = hashlib.sha256(f"{purpose} {seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
