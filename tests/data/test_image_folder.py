from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from single_directions.data import image_folder
from single_directions.errors import BadInput


def test_holds_every_image_with_its_class(two_parts: Path) -> None:
    data_set = image_folder(two_parts)
    assert (data_set.name, data_set.classes, data_set.input_shape) == ("image_folder", 2, (3, 5, 6))
    expected = [[10 * target, k, 200] for target in (0, 1) for k in range(4)]
    assert data_set.train.images[:, :, 2, 3].tolist() == expected
    assert data_set.train.labels.tolist() == [0] * 4 + [1] * 4
    assert data_set.test.labels.tolist() == [0] * 3 + [1] * 3


def test_rows_columns_and_channels_are_in_their_places(two_parts: Path) -> None:
    image = Image.new("RGB", (6, 5))
    image.putpixel((4, 1), (10, 20, 30))  # column 4, row 1
    image.save(two_parts / "train" / "ant" / "0.png")
    pixels = image_folder(two_parts).train.images[0]
    assert pixels[:, 1, 4].tolist() == [10, 20, 30]
    assert pixels.sum() == 60


def test_decodes_many_large_images_in_their_order(class_folders: Callable[..., Path]) -> None:
    # Large enough for several threads, more than one piece of work for each.
    class_folders("train", count=250, size=(130, 3))
    data_set = image_folder(class_folders("test", size=(130, 3)))
    by_name = sorted(range(250), key=str)
    assert data_set.train.images[:, 1, 0, 0].tolist() == by_name * 2


def test_subset_and_corruption_apply(two_parts: Path) -> None:
    data_set = image_folder(two_parts, train_samples=4, corruption=1, seed=1, test_samples=2)
    assert data_set.train.labels.bincount().tolist() == [2, 2]
    assert (data_set.train.images[:, 0, 0, 0] // 10 != data_set.train.labels).sum() == data_set.corrupted
    assert data_set.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize(("size", "image_size"), [((8, 4), 4), ((4, 8), 2), ((5, 5), 10)])
def test_image_size_resizes_and_keeps_the_centre(
    class_folders: Callable[..., Path], size: tuple[int, int], image_size: int
) -> None:
    class_folders("train", size=size)
    root = class_folders("test", size=(7, 7))
    striped = Image.new("RGB", size)  # black, with a white middle half
    width, height = size
    striped.paste((255, 255, 255), (width // 4, 0, width - width // 4, height))
    striped.save(root / "train" / "ant" / "0.png")
    data_set = image_folder(root, image_size=image_size)
    assert data_set.input_shape == (3, image_size, image_size)
    if width > height:  # the black ends are cropped off
        assert (data_set.train.images[0] == 255).all()
    assert data_set.train.images[1, :, 0, 0].tolist() == [0, 1, 200]


def test_the_first_image_of_another_size_is_named(two_parts: Path) -> None:
    for name in ("train/bee/2.png", "test/ant/1.png"):
        Image.new("RGB", (6, 7)).save(two_parts / name)
    message = r"train/bee/2\.png has 7 x 6 pixels, but the images before it have 5 x 6: set data\.image_size"
    with pytest.raises(BadInput, match=message):
        image_folder(two_parts)


def test_test_images_must_have_the_size_of_training_images(class_folders: Callable[..., Path]) -> None:
    class_folders("train")
    with pytest.raises(BadInput, match=r"test/ant/0\.png has 9 x 6 pixels"):
        image_folder(class_folders("test", size=(6, 9)))


def test_a_broken_file_is_named(two_parts: Path) -> None:
    (two_parts / "test" / "bee" / "1.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"test/bee/1\.png cannot be read as an image"):
        image_folder(two_parts)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train_samples": 9}, r"data\.train_samples must lie between 2, one for each class, and 8"),
        ({"test_samples": 1}, r"data\.test_samples must lie between 2"),
        ({"image_size": 0}, r"data\.image_size must be at least 1 pixel"),
        ({"image_size": 2.5}, r"data\.image_size must be at least 1 pixel"),
        ({"corruption": 2}, r"data\.corruption"),
    ],
)
def test_bad_keys_are_refused_before_any_image_is_decoded(two_parts: Path, keys: dict, message: str) -> None:
    for file in two_parts.rglob("*.png"):
        file.write_bytes(b"whoever opens this fails otherwise")
    with pytest.raises(BadInput, match=message):
        image_folder(two_parts, **keys)


def test_real_cifar10_images(real_data: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):  # a few of each class: all would take seconds
        for folder in (real_data / "cifar10" / part).iterdir():
            (tmp_path / part / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:20]:
                (tmp_path / part / folder.name / file.name).symlink_to(file.resolve())
    data_set = image_folder(tmp_path)
    assert (data_set.classes, data_set.input_shape) == (10, (3, 32, 32))
    assert data_set.train.labels.bincount().tolist() == [20] * 10
    assert data_set.train.mean == pytest.approx([0.491, 0.482, 0.447], abs=0.05)  # of the whole set, as published
