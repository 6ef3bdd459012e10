import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.functional import normalize, to_tensor

from single_directions.data import collate, imagenet
from single_directions.data.imagenet import MEAN, STD
from single_directions.errors import BadInput


@pytest.fixture
def root(class_folders: Callable[..., Path]) -> Path:
    """8 training and 6 validation images of 40 x 30 noise."""
    class_folders("train")
    root = class_folders("val", count=3)
    for file in root.rglob("*.png"):
        Image.effect_noise((40, 30), 80).convert("RGB").save(file)
    return root


def test_an_image_of_the_right_size_is_only_normalized(root: Path) -> None:
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    image.save(root / "train" / "ant" / "0.png")
    # 64 is what a crop of 56 is resized to: 56 * 256 / 224.
    found, label = imagenet(root, augment=False, image_size=56).train[0]
    expected = normalize(to_tensor(image), list(MEAN), list(STD))[:, 4:60, 4:60]
    assert torch.allclose(found, expected, atol=1e-5)
    assert label == 0


def test_batches_come_from_a_loader(root: Path) -> None:
    data_set = imagenet(root, image_size=16, workers=3)
    assert (data_set.name, data_set.classes, data_set.input_shape, data_set.workers) == ("imagenet", 2, (3, 16, 16), 3)
    (inputs, labels), *rest = DataLoader(data_set.test, batch_size=6, collate_fn=collate)
    assert inputs.shape == (6, 3, 16, 16)
    assert inputs.dtype == torch.float32
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert not rest


def test_augmentation_changes_training_images_and_nothing_else(root: Path) -> None:
    data_set = imagenet(root, image_size=16)
    torch.manual_seed(0)
    assert not torch.equal(data_set.train[0][0], data_set.train[0][0])
    for plain in (data_set.train_plain, data_set.test):
        assert torch.equal(plain[0][0], plain[0][0])
    assert torch.equal(data_set.train.labels, data_set.train_plain.labels)
    assert data_set.train.files == data_set.train_plain.files
    without = imagenet(root, augment=False, image_size=16)
    assert without.train is without.train_plain


def test_subset_and_corruption_apply(root: Path) -> None:
    data_set = imagenet(root, image_size=16, corruption=1, seed=1, train_samples=6, test_samples=4)
    classes = torch.tensor([("ant", "bee").index(Path(file).parent.name) for file in data_set.train.files])
    assert classes.bincount().tolist() == data_set.train.labels.bincount().tolist() == [3, 3]
    assert (classes != data_set.train.labels).sum() == data_set.corrupted > 0
    assert [Path(file).parent.name for file in data_set.test.files] == ["ant", "ant", "bee", "bee"]
    assert data_set.test.labels.tolist() == [0, 0, 1, 1]


def test_held_out_images_are_plain_and_not_trained_on(root: Path) -> None:
    data_set = imagenet(root, image_size=16, held_out=0.25)
    assert data_set.held_out.labels.tolist() == [0, 1]
    assert not set(data_set.held_out.files) & set(data_set.train.files)
    assert len(data_set.train) == len(data_set.train_plain) == 6
    assert torch.equal(data_set.held_out[0][0], data_set.held_out[0][0])
    assert imagenet(root, image_size=16).held_out is None


def test_can_be_sent_to_a_worker(root: Path) -> None:
    data_set = imagenet(root, image_size=16)
    sent = pickle.loads(pickle.dumps(data_set.train))
    images = []
    for train in (data_set.train, sent):
        torch.manual_seed(0)
        images.append(train[3][0])
    assert torch.equal(*images)


def test_a_broken_file_is_named_when_it_is_read(root: Path) -> None:
    (root / "val" / "ant" / "1.png").write_bytes(b"no image")
    data_set = imagenet(root, image_size=16)
    with pytest.raises(BadInput, match=r"val/ant/1\.png cannot be read as an image"):
        list(DataLoader(data_set.test, batch_size=2))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"image_size": 0}, r"data\.image_size must be at least 1 pixel"),
        ({"image_size": 22.4}, r"data\.image_size must be at least 1 pixel"),
        ({"workers": -1}, r"data\.workers must be a whole number"),
        ({"train_samples": 9}, r"data\.train_samples must lie between 2, one for each class, and 8"),
        ({"corruption_kind": "swap"}, r"data\.corruption_kind"),
    ],
)
def test_bad_keys_are_refused(root: Path, keys: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        imagenet(root, **keys)


def test_real_tiny_imagenet_images(real_data: Path) -> None:
    data_set = imagenet(real_data / "tiny-imagenet-40", image_size=64, train_samples=80, test_samples=40)
    assert data_set.classes == 40
    inputs, labels = next(iter(DataLoader(data_set.train_plain, batch_size=80, collate_fn=collate)))
    assert labels.bincount().tolist() == [2] * 40
    assert inputs.mean().abs() < 0.5
    assert 0.7 < inputs.std() < 1.4
