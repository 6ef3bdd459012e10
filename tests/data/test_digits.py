import torch
from sklearn.datasets import load_digits

from single_directions.data import digits


def rows(images: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(image) for image in images.flatten(1).tolist()]


def test_every_digit_is_in_one_part_and_the_test_set_is_balanced() -> None:
    data_set = digits()
    assert (data_set.name, data_set.classes, data_set.input_shape, data_set.workers) == ("digits", 10, (1, 8, 8), 0)
    assert (len(data_set.train), len(data_set.test)) == (1297, 500)
    assert data_set.test.labels.bincount().tolist() == [50] * 10
    pixels, targets = load_digits(return_X_y=True)
    source = {tuple((15 * row).astype(int)): target for row, target in zip(pixels, targets, strict=True)}
    parts = rows(data_set.train.images) + rows(data_set.test.images)
    assert sorted(parts) == sorted(tuple((15 * row).astype(int)) for row in pixels)
    labels = torch.cat([data_set.train.labels, data_set.test.labels]).tolist()
    assert [source[row] for row in parts] == labels


def test_the_split_and_the_pixels_are_the_same_for_every_seed() -> None:
    first, second = digits(seed=0), digits(seed=1, corruption=0.5)
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.labels, second.test.labels)


def test_training_inputs_have_mean_0_and_deviation_1() -> None:
    inputs, _ = digits().train.__getitems__(range(1297))
    assert inputs.shape == (1297, 1, 8, 8)
    assert inputs.mean().abs() < 1e-5
    assert abs(inputs.std(correction=0) - 1) < 1e-5


def test_what_is_drawn_is_the_same_on_every_machine() -> None:
    # A change here means that results on corrupted labels or subsets are no longer comparable with earlier ones.
    assert digits().label_hash == "2632980fa84da152"
    assert digits(corruption=0.5, train_samples=500, seed=3).label_hash == "25b1a8a5c8495947"
    assert digits(corruption=0.5, corruption_kind="uniform").label_hash == "c72b280212da848b"
