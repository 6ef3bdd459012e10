import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from single_directions.data import cifar10
from single_directions.errors import BadInput


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 of 10 images a file, with checksums to match: the bytes of image k count up from k, its label is k."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: dict) -> str:
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    pixels = (np.arange(10)[:, None] + np.arange(3 * 32 * 32)).astype(np.uint8)
    batch = {"data": pixels, "labels": list(range(10))}
    for parts in ("train_list", "test_list"):
        sums = [[name, write(name, batch)] for name, _ in getattr(datasets.CIFAR10, parts)]
        monkeypatch.setattr(datasets.CIFAR10, parts, sums)
    meta = datasets.CIFAR10.meta
    md5 = write(meta["filename"], {meta["key"]: [f"class {k}" for k in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**meta, "md5": md5})
    return tmp_path


def test_reads_the_batches(root: Path) -> None:
    data_set = cifar10(root)
    assert (data_set.name, data_set.classes, data_set.input_shape) == ("cifar10", 10, (3, 32, 32))
    assert torch.equal(data_set.train.labels, torch.arange(50) % 10)
    assert torch.equal(data_set.test.labels, torch.arange(10))
    # In the files, and so here: channel by channel, row by row.
    expected = (torch.arange(3 * 32 * 32) + 7).to(torch.uint8).view(3, 32, 32)
    assert torch.equal(data_set.train.images[27], expected)
    assert torch.equal(data_set.test.images[7], expected)
    assert (len(cifar10(root, held_out=0.2).train), len(cifar10(root, held_out=0.2).held_out)) == (40, 10)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_file_that_was_changed_is_refused(root: Path, name: str) -> None:
    with (root / "cifar-10-batches-py" / name).open("ab") as file:
        file.write(b"more")
    with pytest.raises(BadInput, match=r"CIFAR-10 in .* is incomplete or broken") as error:
        cifar10(root)
    assert "\n" not in str(error.value)
