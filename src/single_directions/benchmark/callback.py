"""What `AblationAUC` costs of an epoch, and how precise it is for that."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from single_directions.ablation import AblationEstimate, ablation_auc
from single_directions.ablation.estimate import Plan
from single_directions.benchmark.clock import Record, surroundings, timed
from single_directions.errors import BadInput
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


def callback(names: Sequence[str] = tuple(TRAININGS), repeats: int = 3, device: str = "cpu") -> Iterator[list[Record]]:
    """Time a bare epoch and the measurement that `AblationAUC` adds to it, in turns; a record a training.

    Images are noise around a pattern for each class, so that a network learns something in the steps that are timed.
    `auc_se` is the standard error for the network as these steps leave it.
    """
    unknown = [name for name in names if name not in TRAININGS]
    if unknown:
        raise BadInput(f"case {unknown[0]!r}: one of {', '.join(TRAININGS)}")
    for name in names:
        yield [_timed(name, TRAININGS[name], repeats, device)]


def _timed(name: str, training: Training, repeats: int, device: str) -> Record:
    torch.manual_seed(0)
    network = training.network().to(device)
    patterns = torch.randn(CLASSES, *training.input_shape, device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9)

    def images(number: int) -> tuple[Tensor, Tensor]:
        targets = torch.arange(number, device=device) % CLASSES
        return patterns[targets] + torch.randn(number, *training.input_shape, device=device), targets

    example = images(BATCH)[0]

    def planned() -> Plan:
        """What a measurement does before the first image, nearly: the network is traced and its sites are tried."""
        return plan_for(network, example, training.images, None, COST * 3 * training.images, 1, MEMORY)

    plan = planned()
    measured = max(1, round(training.part * plan.images))
    data = images(measured)
    batches = [images(BATCH) for _ in range(min(training.steps, 50))]

    def epoch() -> None:
        network.train()
        for step in range(training.steps):
            inputs, targets = batches[step % len(batches)]
            optimizer.zero_grad()
            cross_entropy(network(inputs), targets).backward()
            optimizer.step()

    def measure(inputs: Tensor, targets: Tensor) -> AblationEstimate:
        own = plan.masks_per_image
        pairs = list(zip(inputs.split(BATCH), targets.split(BATCH), strict=True))
        return ablation_auc(network, pairs, masks=own * len(targets), masks_per_image=own, population=math.inf)

    epoch()
    measure(*data)
    epochs, calls, whole = [], [], []
    for _ in range(repeats):
        epochs.append(timed(epoch, device) * training.images / (BATCH * training.steps))
        calls.append(timed(planned, device))
        whole.append(timed(lambda: measure(*data), device))
    call, parts = statistics.median(calls), statistics.median(whole)
    seconds = call + max(0.0, parts - call) * plan.images / measured
    estimate = measure(*data)
    return {
        "case": name,
        "method": plan.method,
        "epoch_seconds": statistics.median(epochs),
        "callback_seconds": seconds,
        "callback_of_epoch": seconds / statistics.median(epochs),
        "images": plan.images,
        "masks": plan.images * plan.masks_per_image,
        "auc": estimate.auc,
        "auc_se": estimate.auc_se * math.sqrt(measured / plan.images),
        "repeats": repeats,
        **surroundings(device),
    }
