"""Steps of training, seconds, and the speed of this machine."""

import time
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Record = dict[str, Any]


def timed(work: Callable[[], object], device: str = "cpu") -> float:
    """Seconds that some work takes, the device's included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def train(network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """A step on each batch."""
    network.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), targets).backward()
        optimizer.step()


def product_rate(device: str) -> float:
    """Floating-point operations a second of the better of a large matrix product and a large 1 x 1 convolution.

    Both are matrix products; on a CPU two libraries compute them, at different speeds.
    """
    left, right = torch.randn(2, 2048, 2048, device=device)
    maps, weight = torch.randn(256, 256, 8, 8, device=device), torch.randn(256, 256, 1, 1, device=device)
    works: list[tuple[Callable[[], Tensor], float]] = [
        (lambda: left @ right, 2 * 2048**3),
        (lambda: F.conv2d(maps, weight), 2 * 256**3 * 64),
    ]
    with torch.no_grad():
        return max(operations / timed(work, device) for (work, operations), _ in product(works, range(6)))
