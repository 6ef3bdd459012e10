import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, default_collate

from single_directions.data import Images, collate
from single_directions.data.images import labels_of


@pytest.fixture
def images() -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (10, 2, 3, 4), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(10) % 3, mean=(0.4, 0.5), std=(0.2, 0.25))


def test_normalizes_as_can_be_computed_by_hand() -> None:
    pixels = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    image, label = Images(pixels, torch.tensor([7]), mean=(0.5, 0.2), std=(0.5, 0.1))[0]
    assert torch.allclose(image, torch.tensor([[[-1.0, 1.0]], [[0.0, 2.0]]]), atol=1e-6)
    assert image.dtype == torch.float32
    assert (label, label.dtype, label.shape) == (7, torch.int64, ())


def test_a_whole_batch_is_what_its_samples_stack_to(images: Images) -> None:
    at = [4, 0, 0, 9]
    inputs, labels = images.__getitems__(at)
    stacked, stacked_labels = default_collate([images[i] for i in at])
    assert torch.equal(inputs, stacked)
    assert torch.equal(labels, stacked_labels)


def test_a_loader_gives_every_image_once_with_its_label(images: Images) -> None:
    batches = list(DataLoader(images, batch_size=4, shuffle=True, collate_fn=collate))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    inputs, labels = map(torch.cat, zip(*batches, strict=True))
    places = [int((images.__getitems__(range(10))[0] == image).flatten(1).all(1).nonzero()) for image in inputs]
    assert sorted(places) == list(range(10))
    assert torch.equal(labels, images.labels[places])


def test_a_subset_reads_whole_batches_too(images: Images) -> None:
    inputs, labels = next(iter(DataLoader(Subset(images, [8, 1, 5]), batch_size=2, collate_fn=collate)))
    assert torch.equal(inputs, images.__getitems__([8, 1])[0])
    assert labels.tolist() == [2, 1]


def test_samples_of_other_data_sets_are_stacked() -> None:
    pairs = [(torch.full((2,), k), torch.tensor(k)) for k in range(3)]
    inputs, labels = next(iter(DataLoader(pairs, batch_size=3, collate_fn=collate)))
    assert torch.equal(inputs, torch.tensor([[0, 0], [1, 1], [2, 2]]))
    assert labels.tolist() == [0, 1, 2]


def test_reading_leaves_the_stored_pixels_alone(images: Images) -> None:
    before = images.images.clone()
    images[3], images.__getitems__([1, 2])
    assert torch.equal(images.images, before)


def test_moves_to_another_device_as_a_whole(images: Images) -> None:
    moved = images.to("meta")
    inputs, labels = moved.__getitems__([1, 2])
    assert {moved.images.device.type, inputs.device.type, labels.device.type} == {"meta"}
    assert inputs.shape == (2, 2, 3, 4)
    assert images.images.device.type == "cpu"


def test_iterating_ends_with_the_last_image(images: Images) -> None:
    assert len(images) == 10
    with pytest.raises(IndexError):
        images[10]


@pytest.mark.parametrize(
    ("pixels", "labels", "mean"),
    [
        (torch.zeros(2, 1, 3, 3), torch.zeros(2), (0.5,)),
        (torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(2), (0.5,)),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3), (0.5,)),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(2), (0.5, 0.5)),
    ],
    ids=["floats", "no channels", "a label too many", "a mean too many"],
)
def test_what_is_not_a_set_of_images_is_refused(pixels: torch.Tensor, labels: torch.Tensor, mean: tuple) -> None:
    with pytest.raises(ValueError, match=r"images must be uint8|mean and std need one number"):
        Images(pixels, labels, mean, (1.0,) * len(mean))


class Holding(Dataset):
    """It holds attributes; nothing of it can be read."""

    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)

    def __getitem__(self, index: int) -> None:
        raise AssertionError("an image was read")

    def __len__(self) -> int:
        return 2


def test_labels_are_found_without_reading_an_image(images: Images) -> None:
    def found(dataset: object) -> list[int] | None:
        labels = labels_of(dataset)
        assert labels is None or labels.dtype == torch.int64
        return None if labels is None else labels.tolist()

    assert found(images) == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert found(Subset(images, [5, 0, 1])) == [2, 0, 1]
    assert found(Subset(Subset(images, [5, 0, 1]), torch.tensor([2]))) == [1]
    assert found(ConcatDataset([images, Subset(images, [4])])) == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
    assert found(TensorDataset(torch.rand(2, 3), torch.tensor([4, 5], dtype=torch.int32))) == [4, 5]
    for labels in ([3, 1], (3, 1), np.array([3, 1], dtype=np.uint8), torch.tensor([3, 1])):
        assert found(Holding(targets=labels)) == found(Holding(labels=labels, targets=[0, 0])) == [3, 1]
        assert found(Holding(labels=["cat", "dog"], targets=labels)) == [3, 1]
    for indices in (np.array([5, 0], dtype=np.uint8), np.array([0, 5])[::-1], torch.tensor([5, 0], dtype=torch.int16)):
        assert found(Subset(images, indices)) == [2, 0]  # type: ignore[arg-type]
    assert found(ConcatDataset([Subset(images, []), Subset(images, [4])])) == [1]


@pytest.mark.parametrize(
    "labels",
    [
        [1.5, 2],
        ["cat", "dog"],
        "me",
        {0: 1, 1: 0},
        [2**64, 2**64 + 1],
        [0, 1, 2],
        torch.rand(2),
        torch.ones(2, 2, dtype=torch.int64),
        None,
    ],
)
def test_what_is_no_label_for_each_image_is_none(labels: object) -> None:
    holding = Holding(labels=labels)
    assert labels_of(holding) is labels_of(Subset(holding, [0, 1])) is labels_of(Subset(holding, range(9))) is None
    assert labels_of(ConcatDataset([TensorDataset(torch.arange(2)), holding])) is None
    assert labels_of(Subset(TensorDataset(torch.arange(2)), ["a"])) is None  # type: ignore[list-item]


def test_a_property_is_not_read() -> None:
    class Lazy(Holding):
        @property
        def labels(self) -> Tensor:
            raise AssertionError("the file was opened")

        def __getattr__(self, name: str) -> object:
            raise AssertionError("the file was opened")

    assert labels_of(Lazy()) is None
    assert labels_of(object()) is labels_of([(torch.rand(2), 1)]) is None
