"""What is told of where numbers come from."""

from constructed import tables

from single_directions.experiments.section import sections_of
from single_directions.report.provenance import _measured, compute, provenance


def facts_of(section):
    """What is said of a section's runs, by word."""
    return {fact.word: " ".join([fact.text, *fact.code]) for fact in provenance(section)}


def test_the_page_says_what_to_put_for_the_place_of_images():
    whole = tables({"ensemble": 2})
    assert "FOLDER" not in facts_of(sections_of(whole, ())[0])["Commands"]
    command = "python scripts/train.py -m experiment=ensemble data=image_folder data.root=FOLDER/cats seed=0,1"
    folder = whole.of(whole.runs.assign(data="image_folder", command=command))
    facts = facts_of(sections_of(folder, ())[0])
    assert "`FOLDER` stands for the place of that folder of images" in facts["Commands"]


def test_the_page_says_what_a_folder_of_images_is_and_of_how_many_images_a_part_was_used():
    def told(whole, **changed):
        [section] = sections_of(whole.of(whole.runs.assign(**changed)), ())
        return facts_of(section)["Data"]

    assert "mnist: 1,297 training and 500 test images" in told(tables({"early_stopping": 1}), data="mnist")
    part = {"data": "mnist", "train_images": 2000, "config.data.train_samples": 2000}
    assert "mnist: 2,000 of 60,000 training and 500 test images" in told(tables({"early_stopping": 1}), **part)
    folder = told(tables({"ensemble": 2}), **{**part, "data": "image_folder", "config.data.root": "cats"})
    assert "cats (a folder of images; each folder within it is a class)" in folder
    assert "2,000 training and 500 test images, drawn from the folder's, balanced by class; 10 classes" in folder
    assert "0000000000000000" in folder


def test_time_is_summed_for_each_device():
    runs = tables({"memorization": 1}).runs
    clock = "training 4.5 s, measuring 1.5 s by the clock"
    assert compute(runs) == f"cpu (x86_64, 1 thread): {clock}, 6.0 s of device time, summed over 3 runs"
    assert compute(runs, brief=True) == "cpu (x86_64, 1 thread): 6.0 s"
    runs.loc[0, ["device.type", "device.name"]] = "cuda", "H100"
    runs["config.trainer.devices"] = [4, "auto", 1]
    assert "cuda (H100): training 1.5 s, measuring 0.5 s by the clock, 6.5 s of device time" in compute(runs)
    assert "4.0 s of device time, summed over 2 runs" in compute(runs)
    assert compute(runs[["run"]]) == "not recorded"


def test_facts_of_a_section():
    [section] = sections_of(tables({"memorization": 2}), ())
    facts = facts_of(section)
    assert "python scripts/train.py -m experiment=memorization" in facts["Commands"]
    assert "0000000000000005" in facts["Data"]
    assert "1,297 training and 500 test images" in facts["Data"]
    assert facts["Seeds"].startswith("networks (initialization and data order) 0, 1;")
    assert facts["Versions"] == "python 3.11.7, torch 2.6.0"
    assert "optimizer.lr=0.03" in facts["Settings"]
    assert "batch_norm" not in facts["Settings"]  # null everywhere


def test_how_the_auc_was_measured_during_training():
    runs = tables({"memorization": 1}).runs
    assert "during training" not in _measured(runs)
    runs["config.ablation.every_epoch.every_n_epochs"] = [1, None, 1]
    assert _measured(runs).endswith(
        "; during training 5 orderings x 21 points on 2,000 of the training images (or all, where there are fewer)"
    )  # not recorded
    runs["config.ablation.every_epoch.samples"] = [300, None, None]
    runs["every_epoch.orderings"], runs["every_epoch.images"] = [None, None, 20], [None, None, 500]
    assert "; during training 5, 20 orderings x 21 points on 300, 500 of the training images" in _measured(runs)
    runs["every_epoch.masks"], runs["every_epoch.images"] = 9000, 3000
    assert _measured(runs).endswith("; during training 9,000 masks on 3,000 of the training images")


def test_columns_that_are_missing_are_not_fatal():
    whole = tables({"memorization": 1})
    few = ["run", "state", "experiment", "scale", "data", "variant", "classes", "seed", "config.data.corruption"]
    [section] = sections_of(whole.of(whole.runs[few]), ())
    facts = facts_of(section)
    assert facts["Compute"] == "not recorded"
    assert "?" in facts["Measured"]


def test_settings_of_runs_are_listed_with_all_values():
    whole = tables({"batch_norm": 1})
    [section] = sections_of(whole, ())
    assert "network.batch_norm=True, False" in facts_of(section)["Settings"]


def test_a_setting_may_be_infinite():
    whole = tables({"ensemble": 2})
    runs = whole.runs.assign(**{"config.trainer.gradient_clip_val": [float("inf"), 2.0]})
    assert "`trainer.gradient_clip_val=2, inf`" in facts_of(sections_of(whole.of(runs), ())[0])["Settings"]
