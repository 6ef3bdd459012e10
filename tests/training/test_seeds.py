"""Seeds of purposes and epochs."""

from single_directions.training.seeds import derived_seed


def test_seeds_are_fixed_and_apart():
    seeds = {derived_seed(seed, purpose, epoch) for seed in range(20) for purpose in "ab" for epoch in range(20)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(0, "order", 1) == derived_seed(0, "order", 1)
    # Not only within this process: sha256(b"order 0 1"), its first 8 bytes little-endian, halved.
    assert derived_seed(0, "order", 1) == 5893801040639395759
