"""Small data sets in the formats that the package reads, and the real ones if they are on this machine."""

import gzip
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
Size = tuple[int, int]


@pytest.fixture
def class_folders(tmp_path: Path) -> Callable[..., Path]:
    """Writes `count` images a class to <root>/<part>/<class>/<k>.png: red tells the class (0, 10, ...), green is k."""

    def write(
        part: str, classes: Sequence[str] = ("ant", "bee"), count: int = 4, size: Size = (6, 5), root: str = "set"
    ) -> Path:
        for target, name in enumerate(classes):
            folder = tmp_path / root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for k in range(count):
                Image.new("RGB", size, (10 * target, k, 200)).save(folder / f"{k}.png")
        return tmp_path / root

    return write


@pytest.fixture
def two_parts(class_folders: Callable[..., Path]) -> Path:
    """A whole data set: 2 classes, 4 training and 3 test images of each, 6 wide and 5 high."""
    class_folders("train")
    return class_folders("test", count=3)


@pytest.fixture
def write_mnist(tmp_path: Path) -> Callable[..., Path]:
    """Writes MNIST's four idx files, 20 training and 10 test images, gzipped or not; image k holds k everywhere."""

    def write(folder: str = "MNIST/raw", gzipped: bool = False) -> Path:
        raw = tmp_path / folder
        raw.mkdir(parents=True)
        for part, count in (("train", 20), ("t10k", 10)):
            pixels = np.arange(count, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
            images = b"".join(n.to_bytes(4, "big") for n in (0x803, count, 28, 28)) + pixels.tobytes()
            labels = b"".join(n.to_bytes(4, "big") for n in (0x801, count)) + bytes(k % 10 for k in range(count))
            for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
                (raw / (name + ".gz" * gzipped)).write_bytes(gzip.compress(content) if gzipped else content)
        return raw

    return write


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with MNIST, CIFAR-10 and Tiny ImageNet: data/, or else what the shared folder beside it unpacks."""
    laid_out, unpack = REPOSITORY / "data", REPOSITORY.parent / "shared" / "data" / "unpack"
    if all((laid_out / name).is_dir() for name in ("MNIST", "cifar10", "tiny-imagenet-40")):
        return laid_out
    if not unpack.is_file():
        pytest.skip(f"needs real data: neither {laid_out} nor {unpack} is there")
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([unpack, folder], check=True)
    return folder
