from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from single_directions.data.folders import open_image, train_and_test
from single_directions.errors import BadInput


def test_classes_and_files_are_sorted_by_name(class_folders: Callable[..., Path]) -> None:
    class_folders("train", classes=("cat", "ant", "bee"), count=2)
    root = class_folders("test", classes=("bee", "cat", "ant"), count=1)
    train, test = train_and_test(root, "train", "test")
    assert train.classes == test.classes == ("ant", "bee", "cat")
    names = ["ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png", "cat/0.png", "cat/1.png"]
    assert list(train.files) == [str(root / "train" / name) for name in names]
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert test.labels.tolist() == [0, 1, 2]


def test_images_may_lie_deeper_and_other_files_are_passed_over(two_parts: Path) -> None:
    deeper = two_parts / "train" / "ant" / "1x"  # sorted among the files
    deeper.mkdir()
    (two_parts / "train" / "ant" / "3.png").rename(deeper / "3.PNG")
    (two_parts / "train" / "ant" / "boxes.txt").write_text("no image")
    (two_parts / "train" / "ant" / "._0.png").write_text("what macOS leaves in archives")
    (two_parts / "train" / ".cache").mkdir()
    train, _ = train_and_test(two_parts, "train", "test")
    assert [Path(file).name for file in train.files[:4]] == ["0.png", "1.png", "3.PNG", "2.png"]
    assert len(train.files) == 8


@pytest.mark.parametrize(("part", "key"), [("train", "data.train_folder"), ("test", "data.test_folder")])
def test_a_missing_part_is_refused_by_its_key(class_folders: Callable[..., Path], part: str, key: str) -> None:
    root = class_folders("test" if part == "train" else "train")
    with pytest.raises(BadInput, match=rf"set/{part} is not a folder: .* data\.root or {key}"):
        train_and_test(root, "train", "test")


def test_fewer_than_two_classes_are_refused(class_folders: Callable[..., Path]) -> None:
    class_folders("train", classes=["ant"])
    with pytest.raises(BadInput, match="holds 1 class folders, but at least 2 are needed"):
        train_and_test(class_folders("test"), "train", "test")


def test_a_class_without_images_is_named(two_parts: Path) -> None:
    (two_parts / "test" / "bug").mkdir()
    with pytest.raises(BadInput, match="test/bug holds no images"):
        train_and_test(two_parts, "train", "test")


def test_a_class_in_one_part_only_is_named(class_folders: Callable[..., Path]) -> None:
    class_folders("train", classes=("ant", "bee", "cow"))
    with pytest.raises(BadInput, match="must hold the same classes, but cow is in one only"):
        train_and_test(class_folders("test"), "train", "test")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_every_image_is_opened_as_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "white.tif"
    Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode).save(file)
    image = open_image(str(file))
    assert (image.mode, image.size) == ("RGB", (3, 2))
    assert (np.asarray(image) == 255).all()


@pytest.mark.parametrize("kept", [0, 20, 60], ids=["empty", "cut in the header", "cut short"])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_broken_file_is_named(tmp_path: Path, ending: str, kept: int) -> None:
    file = tmp_path / f"broken.{ending}"
    Image.effect_noise((32, 32), 50).save(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BadInput, match=rf"broken\.{ending} cannot be read as an image .*: replace or remove it"):
        open_image(str(file))
