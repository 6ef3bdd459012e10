"""Figure 4b's claims."""

import pytest
from constructed import judged

from single_directions.experiments import batch_norm
from single_directions.experiments.conditions import BATCH_NORM


@pytest.mark.parametrize(("better", "said"), [(True, "reproduced"), (False, "not reproduced")])
def test_batch_norm_is_compared_within_seeds(constructed, better, said):
    rows = [
        {
            "seed": seed,
            "train_accuracy": 1.0,
            BATCH_NORM: on,
            "auc": 0.3 + 0.1 * seed + 0.15 * (on == better) + 0.01 * (on and seed % 2),
            "auc_normalized": 0.5 - 0.01 * (on == better),
        }
        for seed in range(4)
        for on in (True, False)
    ]
    tables = constructed("batch_norm", rows)
    entry = judged(tables)["auc"]
    assert entry.verdict == said
    assert entry.value == pytest.approx(0.155 if better else -0.145)
    assert entry.n == 4
    assert batch_norm.auc(tables).caveats == ("raw and normalized AUC differ in opposite directions",)


def test_few_shared_seeds_are_compared_as_independent_groups_and_told(constructed):
    def entry(first):
        rows = [
            {"seed": seed + first * on, BATCH_NORM: on, "auc": 0.5 + 0.3 * on + 0.01 * (seed % 4)}
            for on in (False, True)
            for seed in range(6)
        ]
        return judged(constructed("batch_norm", rows))["auc"]

    told = "batch norm: the two groups share fewer than 4 seeds, so all networks are compared as independent groups"
    for first, n in ((0, 6), (2, 4), (4, 6), (6, 6)):
        found = entry(first)
        assert (found.n, found.verdict) == (n, "reproduced")
        assert any(told in caveat for caveat in found.caveats) == (first == 4)
