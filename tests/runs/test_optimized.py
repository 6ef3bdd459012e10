"""A run returns the number that a search asks for; its name is checked before training."""

import pytest

from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.config import flat
from single_directions.runs.folder import RunFolder
from single_directions.runs.optimized import known_numbers, optimized
from single_directions.runs.run import execute


def test_every_number_of_a_summary_can_be_asked_for(settings, place):
    config = settings("ablation.top_k=3", "ablation.every_epoch={samples:50}", "data.held_out=0.1")
    summary = execute(config, RunFolder(place))
    known = known_numbers(config)
    assert {"train_loss", "test_accuracy_top3", "held_out_accuracy"} <= set(known)
    for name in known:
        assert optimized({"optimized_metric": name}, summary) == flat(summary)[name]
    numbers = {key for key, value in flat(summary).items() if isinstance(value, float)}
    results = {key for key in numbers if not key.startswith("settings.")}
    assert results - {"corruption", "seconds_of_every_epoch"} <= set(known)
    both = optimized({"optimized_metric": ["auc", "test_accuracy"]}, summary)
    assert both == [summary["auc"], summary["test_accuracy"]]
    assert optimized({"optimized_metric": None}, summary) is None
    assert optimized({"optimized_metric": "auc"}, {"auc": None}) != optimized({"optimized_metric": "auc"}, {"auc": 0})


@pytest.mark.parametrize("name", ["acc", "[auc,acc]", "3", "test_accuracy_top3", "held_out_loss"])
def test_unknown_number_is_refused_before_training(settings, name):
    with pytest.raises(BadInput, match=r"optimized_metric must be a number of summary\.json \(auc, .*, not"):
        build(settings(f"optimized_metric={name}"))
