"""How precise an estimate is for what it costs, on networks that are trained on real images."""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from pathlib import Path

import torch
from torch import Tensor, nn

from single_directions.ablation.accuracy import correct
from single_directions.ablation.estimate import RepeatedEstimate
from single_directions.ablation.estimated import AblationEstimate
from single_directions.ablation.masks import weights
from single_directions.ablation.measurement import measurement
from single_directions.ablation.orderings import draw_orderings, grid
from single_directions.benchmark.callback import BATCH, COST, MEMORY, TRAININGS, repeated
from single_directions.benchmark.clock import Record, timed, train
from single_directions.data import DataSet, Images, cifar10, digits, image_folder, mnist
from single_directions.errors import BadInput
from single_directions.networks import MLP
from single_directions.training.budget import plan_for


@dataclass(frozen=True)
class Trained:
    """A network and the real images that it learns.

    Attributes:
        name: of the network and its images.
        network: is trained.
        images: all that it is trained on.
        order: (n,) in which they are measured.
        epoch: trains one.
    """

    name: str
    network: nn.Module
    images: Images
    order: Tensor
    epoch: Callable[[], None]

    def first(self, number: int) -> tuple[Tensor, Tensor]:
        """So many of the images that are measured, with their labels."""
        return self.images.__getitems__(self.order[:number])


def precision(network: str, device: str = "cpu", epochs: int = 8) -> Iterator[Record]:
    """The standard errors of `AblationAUC` at its default cost after each epoch, with that of the change in it."""
    training = training_of(network, device, epochs)
    population = len(training.images)
    plan = plan_for(training.network, training.first(BATCH)[0], population, None, COST, population, 1, MEMORY)
    classes = torch.bincount(training.images.labels)
    measure = repeated(training.network, plan, *training.first(plan.images), classes)
    before: AblationEstimate | None = None
    for epoch in range(1, epochs + 1):
        training.epoch()
        now = measure()
        change = now.change_from(before)["auc"].se if before else math.nan
        values = {"accuracy": now.accuracy, "auc": now.auc, "auc_se": now.auc_se, "masks": now.masks}
        yield {"case": training.name, "epoch": epoch, **values, "change_se": change, "repeats": 1}
        before = now


def designs(device: str = "cpu", repeats: int = 3, images: int = 6000, epochs: int = 3) -> Iterator[Record]:
    """How long an estimate takes to reach the same error with masks of each image's own, and with shared orderings.

    A group of images with one ordering can be measured by `Incremental`, each point far below a forward pass. But the
    ordering moves the answers of the whole group together, so the same error needs more images. `time_at_same_error` is
    the variance times the seconds, by that of masks of each image's own.
    """
    training = training_of("mlp", device, epochs)
    for _ in range(epochs):
        training.epoch()
    network, (inputs, targets) = training.network, training.first(images)
    estimate = RepeatedEstimate(network, [(inputs, targets)], masks=3 * len(targets), population=math.inf)
    own = (estimate().auc_se, statistics.median(timed(estimate, device) for _ in range(repeats)))
    results = {"masks of each image's own": own}
    with measurement(network, [(inputs, targets)], None, "zero", 1, "incremental", MEMORY) as measured:
        points = grid(measured.network.units, 11)
        share = weights(points, measured.network.units).to(inputs.device)

        def area(number: int, some: Tensor, right: Tensor) -> float:
            (ordering,) = draw_orderings(measured.network.units, 1, torch.Generator().manual_seed(number))
            measured.method.start(some)
            sweep = measured.method.cumulative(ordering, points.tolist())
            found = {point: correct(logits[None], right, 1).float().mean() for point, logits in sweep}
            return float(sum(share[point] * accuracy for point, accuracy in found.items()))

        for size in (16, 64):
            groups = list(zip(range(len(inputs)), inputs.split(size), targets.split(size), strict=False))
            areas = list(starmap(area, groups))
            times = [timed(partial(list, starmap(area, groups)), device) for _ in range(repeats)]
            error = statistics.stdev(areas) / math.sqrt(len(areas))
            results[f"one ordering for {size} images"] = error, statistics.median(times)
    for design, (error, seconds) in results.items():
        relative = error**2 * seconds / (own[0] ** 2 * own[1])
        values = {"images": len(targets), "auc_se": error, "seconds": seconds, "time_at_same_error": relative}
        yield {"case": training.name, "design": design, **values}


def training_of(network: str, device: str, epochs: int) -> Trained:
    """The MLP on MNIST, or on digits where MNIST is missing; "convnet" or "resnet18" on CIFAR-10.

    CIFAR-10 is read from data/cifar-10-batches-py, or from class folders in data/cifar10/train and test. The networks
    for it are trained in bfloat16, with a learning rate that sinks to 0 over the `epochs`, and measured in float32.
    Raises `BadInput` if images are missing.
    """
    name, data = _mnist() if network == "mlp" else ("cifar-10", _cifar10())
    assert isinstance(data.train, Images)
    images, half = data.train.to(device), network != "mlp"
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    optimizer: torch.optim.Optimizer
    if half:
        model = TRAININGS[network].network().to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    else:
        model = MLP(data.input_shape, data.classes).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0 if half else 1.0, epochs)
    order = torch.randperm(len(images), generator=generator)

    def epoch() -> None:
        batches = torch.randperm(len(images), generator=generator).split(BATCH)
        # A cache of weights in bfloat16 would keep those of the first step.
        with torch.autocast(device, torch.bfloat16, enabled=half, cache_enabled=False):
            train(model, optimizer, map(images.__getitems__, batches))
        schedule.step()

    return Trained(f"{network} on {name}", model, images, order, epoch)


def _mnist() -> tuple[str, DataSet]:
    try:
        return "mnist", mnist()
    except BadInput:
        return "digits", digits()


def _cifar10() -> DataSet:
    folder = "data/cifar10"
    return image_folder(folder) if Path(folder).is_dir() else cifar10()
