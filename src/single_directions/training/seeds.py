"""Seeds for one purpose and one epoch, out of a run's seed."""

import hashlib


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """A seed of its own for each purpose and epoch, 63 bits, the same on every machine.

    An epoch seeded so draws the same numbers whether the training came there in one go or was resumed.
    """
    digest = hashlib.sha256(f"{purpose} {seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
