import shutil
from collections.abc import Callable
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torchvision import datasets

from single_directions.data import cifar10, mnist
from single_directions.errors import BadInput


def test_reads_the_idx_files(write_mnist: Callable[..., Path], tmp_path: Path) -> None:
    write_mnist()
    data_set = mnist(tmp_path)
    assert (data_set.name, data_set.classes, data_set.input_shape) == ("mnist", 10, (1, 28, 28))
    for part, count in ((data_set.train, 20), (data_set.test, 10)):
        assert part.images.shape == (count, 1, 28, 28)
        assert torch.equal(part.images[:, 0, 5, 9].long(), torch.arange(count))
        assert torch.equal(part.labels, torch.arange(count) % 10)


def test_is_decoded_once_a_process(write_mnist: Callable[..., Path], tmp_path: Path) -> None:
    raw = write_mnist()
    first = mnist(tmp_path)
    shutil.rmtree(raw)
    second = mnist(tmp_path, corruption=0.5)
    assert second.train.images is first.train.images
    assert second.corrupted > 0


@pytest.mark.parametrize(("read", "place"), [(mnist, "MNIST/raw"), (cifar10, "cifar-10-batches-py")])
def test_a_missing_folder_is_named_and_nothing_is_downloaded(tmp_path: Path, read: Any, place: str) -> None:
    with pytest.raises(BadInput, match=rf" is not in .*nowhere/{place}: .*data\.download=true") as error:
        read(tmp_path / "nowhere")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("kept", [None, 0, 10, 12], ids=["missing", "empty", "cut in the header", "cut short"])
def test_broken_files_are_refused(
    write_mnist: Callable[..., Path], tmp_path: Path, name: str, kept: int | None
) -> None:
    file = write_mnist() / name
    content = file.read_bytes()
    file.unlink()
    if kept is not None:
        file.write_bytes(content[:kept])
    with pytest.raises(BadInput, match=r"MNIST in .*MNIST/raw is incomplete or broken") as error:
        mnist(tmp_path)
    assert "\n" not in str(error.value)


def test_labels_that_are_no_digits_are_refused(write_mnist: Callable[..., Path], tmp_path: Path) -> None:
    file = write_mnist() / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(BadInput, match="incomplete or broken"):
        mnist(tmp_path)


def test_an_image_without_a_label_is_refused(write_mnist: Callable[..., Path], tmp_path: Path) -> None:
    file = write_mnist() / "t10k-labels-idx1-ubyte"
    magic, labels = file.read_bytes()[:4], file.read_bytes()[8:-1]
    file.write_bytes(magic + len(labels).to_bytes(4, "big") + labels)
    with pytest.raises(BadInput, match=r"incomplete or broken \(10 images but 9 labels"):
        mnist(tmp_path)


def test_downloads_when_asked_to(
    write_mnist: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = partial(SimpleHTTPRequestHandler, directory=write_mnist("mirror", gzipped=True))
    unsummed = [(name, None) for name, _ in datasets.MNIST.resources]
    monkeypatch.setattr(datasets.MNIST, "resources", unsummed)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), mirror) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        downloaded = mnist(tmp_path / "new", download=True)
        server.shutdown()
    assert torch.equal(downloaded.train.images[:, 0, 0, 0].long(), torch.arange(20))
    assert len(mnist(tmp_path / "new").test) == 10


def test_a_download_that_fails_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.MNIST, "mirrors", [(tmp_path / "no mirror").as_uri() + "/"])
    with pytest.raises(BadInput, match=r"MNIST in .* cannot be downloaded or read") as error:
        mnist(tmp_path, download=True)
    assert "\n" not in str(error.value)


def test_real_mnist_has_its_published_figures(real_data: Path) -> None:
    data_set = mnist(real_data, corruption=0.2, train_samples=10_000)
    whole = mnist(real_data)
    assert (len(whole.train), len(whole.test), len(data_set.train)) == (60_000, 10_000, 10_000)
    assert whole.train.mean == pytest.approx([0.1307], abs=1e-4)
    assert whole.train.std == pytest.approx([0.3081], abs=1e-4)
    assert whole.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data_set.train.labels.bincount().tolist() == [1000] * 10
    assert data_set.corrupted == pytest.approx(0.9 * 2000, abs=60)
