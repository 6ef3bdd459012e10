import pytest
import torch

from single_directions.data import DataSet
from single_directions.data.selection import Selection, decoded, in_memory
from single_directions.errors import BadInput

LABELS = torch.arange(200) % 4


def numbered(**keys) -> DataSet:
    """200 training and 200 test images of one pixel, which is the image's number."""
    pixels = torch.arange(200, dtype=torch.uint8).view(-1, 1, 1, 1)
    return in_memory("numbers", decoded(pixels, LABELS, pixels, LABELS), 4, Selection(**keys))


def test_mean_and_deviation_are_those_of_each_channel_of_the_training_images() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randint(256, (2, 50, 3, 4, 5), dtype=torch.uint8, generator=generator)
    train[:, 1] = 51
    found = decoded(train, LABELS[:50], test, LABELS[:50])
    channels = train.double().transpose(0, 1).flatten(1) / 255
    assert found.mean == pytest.approx(channels.mean(1).tolist(), abs=1e-12)
    deviations = channels.std(1, correction=0).tolist()
    deviations[1] = 1  # the channel is 0.2 everywhere: it must not be divided by 0
    assert found.std == pytest.approx(deviations, abs=1e-12)


def test_the_training_subset_does_not_depend_on_the_corruption() -> None:
    true, corrupted = (Selection(corruption=level, train_samples=40, seed=3).train(LABELS) for level in (0, 1))
    assert torch.equal(true.indices, corrupted.indices)
    assert torch.equal(true.labels, LABELS[true.indices])
    assert true.corrupted == 0
    assert corrupted.corrupted == (corrupted.labels != true.labels).sum() > 0


def test_the_hash_tells_subsets_and_corruptions_apart() -> None:
    by_class = LABELS.sort().values  # balanced subsets of sorted labels all have the same labels
    selections = [Selection(train_samples=40, seed=1), Selection(train_samples=40, seed=2), Selection()]
    selections += [Selection(corruption=0.5), Selection(corruption=0.5, corruption_kind="uniform"), Selection(seed=9)]
    hashes = [selection.train(by_class).hash for selection in selections]
    assert hashes[-1] == hashes[2]  # without corruption and subset the seed draws nothing
    assert len(set(hashes)) == 5


def test_images_keep_their_labels_in_a_subset() -> None:
    data_set = numbered(train_samples=20)
    assert torch.equal(LABELS[data_set.train.images.flatten().long()], data_set.train.labels)
    assert len(data_set.train) == 20
    assert len(data_set.test) == 200
    assert data_set.train_plain is data_set.train
    assert data_set.input_shape == (1, 1, 1)


def test_all_images_are_shared_and_not_copied() -> None:
    pixels = torch.zeros(200, 1, 1, 1, dtype=torch.uint8)
    data_set = in_memory("zeros", decoded(pixels, LABELS, pixels, LABELS), 4, Selection(corruption=0.5))
    assert data_set.train.images is pixels
    assert not torch.equal(data_set.train.labels, LABELS)


def test_held_out_images_are_kept_out_of_training_with_labels_as_trained() -> None:
    whole, part = (numbered(corruption=1, train_samples=160, held_out=fraction) for fraction in (0, 0.1))
    trained, held_out = (images.images.flatten().tolist() for images in (part.train, part.held_out))
    assert sorted(trained + held_out) == whole.train.images.flatten().tolist()
    assert LABELS[held_out].bincount().tolist() == [4, 4, 4, 4]
    labels = dict(zip(whole.train.images.flatten().tolist(), whole.train.labels.tolist(), strict=True))
    for found in (part.train, part.held_out):  # each image has the label that it has where none is held out
        assert [labels[image] for image in found.images.flatten().tolist()] == found.labels.tolist()
    assert not torch.equal(part.held_out.labels, LABELS[held_out])
    assert part.corrupted == (part.train.labels != LABELS[trained]).sum()
    assert part.label_hash != whole.label_hash
    assert part.held_out.mean == part.train.mean


def test_held_out_images_depend_on_the_seed_alone() -> None:
    true, corrupted, other = (
        Selection(corruption=level, train_samples=160, held_out=0.25, seed=seed).train(LABELS).held_out_indices.tolist()
        for level, seed in ((0, 3), (0.5, 3), (0, 4))
    )
    assert true == corrupted != other


def test_held_out_images_move_with_the_others_and_are_none_unless_asked_for() -> None:
    near = numbered(held_out=0.1).to("meta")
    assert near.held_out.images.device.type == near.train.images.device.type == "meta"
    assert near.train_plain is near.train
    assert numbered().held_out is numbered().to("meta").held_out is None


@pytest.mark.parametrize(
    ("labels", "held_out", "message"),
    [
        (LABELS, 0.01, r"data\.held_out=0\.01 of 200 training images are 2: at least 4 are needed, one for each class"),
        (LABELS, 0.99, r"data\.held_out=0\.99 leaves some class without a training image: hold out fewer"),
        (torch.tensor([0] * 9 + [1]), 0.2, r"data\.held_out=0\.2 leaves some class without a training image"),
    ],
)
def test_each_class_is_in_both_parts(labels: torch.Tensor, held_out: float, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Selection(held_out=held_out).train(labels)


def test_test_labels_are_never_corrupted() -> None:
    test = numbered(corruption=1, test_samples=20).test
    assert torch.equal(test.labels, LABELS[test.images.flatten().long()])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"corruption": 1.01}, r"data\.corruption must lie between 0 and 1, not 1\.01"),
        ({"corruption": -0.1}, r"data\.corruption must lie between 0 and 1, not -0\.1"),
        ({"corruption": float("nan")}, r"data\.corruption must lie between 0 and 1, not nan"),
        ({"corruption": "half"}, r"data\.corruption must lie between 0 and 1, not half"),
        ({"corruption_kind": "swap"}, r"data\.corruption_kind must be one of shuffle, uniform, not swap"),
        ({"train_samples": 0}, r"data\.train_samples must be a whole number of at least 1"),
        ({"test_samples": 2.5}, r"data\.test_samples must be a whole number of at least 1"),
        ({"held_out": 1}, r"data\.held_out must be a number of at least 0 and below 1, not 1"),
        ({"held_out": -0.1}, r"data\.held_out must be a number of at least 0 and below 1, not -0\.1"),
        ({"held_out": "tenth"}, r"data\.held_out must be a number of at least 0 and below 1, not 'tenth'"),
        ({"held_out": True}, r"data\.held_out must be a number of at least 0 and below 1, not True"),
        ({"held_out": float("nan")}, r"data\.held_out must be a number of at least 0 and below 1, not nan"),
    ],
)
def test_bad_keys_are_refused_before_there_are_labels(keys: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Selection(**keys)


def test_samples_over_the_set_are_refused_by_the_name_of_their_key() -> None:
    with pytest.raises(BadInput, match=r"data\.train_samples .* 200, all images: not 201"):
        Selection(train_samples=201).train(LABELS)
    with pytest.raises(BadInput, match=r"data\.test_samples must lie between 4, one for each class"):
        Selection(test_samples=3).test(LABELS)


def test_pixels_are_0_to_1_without_normalization() -> None:
    pixels = torch.full((200, 2, 3, 3), 51, dtype=torch.uint8)
    data_set = in_memory("fifths", decoded(pixels, LABELS, pixels, LABELS), 4, Selection(normalize=False))
    for part in (data_set.train, data_set.train_plain, data_set.test):
        torch.testing.assert_close(part[0][0], torch.full((2, 3, 3), 0.2))
    with pytest.raises(BadInput, match=r"data\.normalize must be true or false, not 'no'"):
        Selection(normalize="no")  # type: ignore[arg-type]
