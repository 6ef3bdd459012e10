"""What `AblationAUC` costs of an epoch."""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import torch
import torchvision
from torch import Tensor, nn

from single_directions.ablation.estimate import Plan, RepeatedEstimate
from single_directions.benchmark.clock import Record, timed, train
from single_directions.networks import MLP, ConvNet
from single_directions.training.budget import plan_for

COST, MEMORY, BATCH, CLASSES = 0.05, 2**30, 128, 10


@dataclass(frozen=True)
class Training:
    """A network and an epoch of it.

    Attributes:
        network: makes it.
        input_shape: (C, H, W) of an image.
        images: of an epoch.
        steps: batches to train for one timing; their time is scaled to the epoch.
        part: of the images that a measurement takes, so many are measured for one timing, 0 to 1.
    """

    network: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    images: int
    steps: int
    part: float


def resnet18() -> nn.Module:
    """ResNet-18 for images of 32 pixels: a first convolution of 3 x 3, no pooling after it."""
    network = torchvision.models.resnet18(num_classes=CLASSES)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network


TRAININGS = {
    "mlp": Training(lambda: MLP((1, 28, 28), CLASSES), (1, 28, 28), 60_000, 469, 1.0),
    "convnet": Training(lambda: ConvNet((3, 32, 32), CLASSES), (3, 32, 32), 50_000, 4, 0.1),
    "resnet18": Training(resnet18, (3, 32, 32), 50_000, 2, 0.05),
}


def callback(name: str, repeats: int = 3, device: str = "cpu") -> Iterator[Record]:
    """Time a bare epoch of one of `TRAININGS` and the measurement that `AblationAUC` adds to it, in turns.

    Images are noise around a pattern for each class, so that a network learns something in the steps that are timed.
    `auc_se` is the standard error for the network as these steps leave it.
    """
    training = TRAININGS[name]
    torch.manual_seed(0)
    network = training.network().to(device)
    patterns = torch.randn(CLASSES, *training.input_shape, device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9)

    def images(number: int) -> tuple[Tensor, Tensor]:
        targets = torch.arange(number, device=device) % CLASSES
        return patterns[targets] + torch.randn(number, *training.input_shape, device=device), targets

    plan = plan_for(network, images(BATCH)[0], training.images, None, COST, training.images, 1, MEMORY)
    measured = max(1, round(training.part * plan.images))
    classes = torch.full((CLASSES,), training.images // CLASSES)
    measure = repeated(network, plan, *images(measured), classes)
    batches = [images(BATCH) for _ in range(min(training.steps, 50))]

    def epoch() -> None:
        train(network, optimizer, islice(cycle(batches), training.steps))

    epoch()
    measure()
    epochs, parts = [], []
    for _ in range(repeats):
        epochs.append(timed(epoch, device) * training.images / (BATCH * training.steps))
        parts.append(timed(measure, device) * plan.images / measured)
    estimate = measure()
    epoch_seconds, seconds = statistics.median(epochs), statistics.median(parts)
    yield {
        "case": name,
        "method": plan.method,
        "epoch_seconds": epoch_seconds,
        "callback_seconds": seconds,
        "callback_of_epoch": seconds / epoch_seconds,
        "images": plan.images,
        "masks": plan.images * plan.masks_per_image,
        "auc": estimate.auc,
        "auc_se": estimate.auc_se * math.sqrt(measured / plan.images),
    }


def repeated(network: nn.Module, plan: Plan, inputs: Tensor, targets: Tensor, population: Tensor) -> RepeatedEstimate:
    """What the callback measures after an epoch; `population` is the number of images of each class, (classes,)."""
    pairs = list(zip(inputs.split(BATCH), targets.split(BATCH), strict=True))
    own = plan.masks_per_image
    return RepeatedEstimate(network, pairs, masks=own * len(targets), masks_per_image=own, population=population)
