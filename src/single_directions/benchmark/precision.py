"""How precise an estimate is for what it costs, on an MLP that is trained on MNIST, or on digits without it."""

import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from itertools import starmap

import torch
from torch import Tensor, nn

from single_directions.ablation.accuracy import correct
from single_directions.ablation.estimate import RepeatedEstimate
from single_directions.ablation.estimated import AblationEstimate
from single_directions.ablation.masks import weights
from single_directions.ablation.measurement import measurement
from single_directions.ablation.orderings import draw_orderings, grid
from single_directions.benchmark.callback import BATCH, CLASSES, COST, MEMORY, repeated
from single_directions.benchmark.clock import Record, timed, train
from single_directions.data import Images, digits, mnist
from single_directions.errors import BadInput
from single_directions.networks import MLP
from single_directions.training.budget import plan_for


def precision(device: str = "cpu", epochs: int = 8) -> Iterator[Record]:
    """The standard errors of `AblationAUC` at its default cost after each epoch, with that of the change in it."""
    name, network, inputs, targets, train_epoch = _training(device)
    plan = plan_for(network, inputs[:BATCH], len(inputs), None, COST, len(inputs), 1, MEMORY)
    measure = repeated(network, plan, inputs[: plan.images], targets[: plan.images], population=len(inputs))
    before: AblationEstimate | None = None
    for epoch in range(1, epochs + 1):
        train_epoch()
        now = measure()
        change = now.change_from(before)["auc"].se if before else math.nan
        values = {"accuracy": now.accuracy, "auc": now.auc, "auc_se": now.auc_se, "masks": now.masks}
        yield {"case": name, "epoch": epoch, **values, "change_se": change, "repeats": 1}
        before = now


def designs(device: str = "cpu", repeats: int = 3, images: int = 6000, epochs: int = 3) -> Iterator[Record]:
    """How long an estimate takes to reach the same error with masks of each image's own, and with shared orderings.

    A group of images with one ordering can be measured by `Incremental`, each point far below a forward pass. But the
    ordering moves the answers of the whole group together, so the same error needs more images. `time_at_same_error` is
    the variance times the seconds, by that of masks of each image's own.
    """
    name, network, inputs, targets, train_epoch = _training(device)
    for _ in range(epochs):
        train_epoch()
    inputs, targets = inputs[:images], targets[:images]
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
        yield {"case": name, "design": design, **values}


def _training(device: str) -> tuple[str, nn.Module, Tensor, Tensor, Callable[[], None]]:
    """A name, an MLP, images and labels in the order in which they are measured, and a call that trains an epoch."""
    try:
        name, data = "mlp on mnist", mnist().train
    except BadInput:
        name, data = "mlp on digits", digits().train
    assert isinstance(data, Images)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = MLP(data[0][0].shape, CLASSES).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9)
    order = torch.randperm(len(data), generator=generator)
    inputs, targets = data.to(device).__getitems__(torch.arange(len(data)))

    def epoch() -> None:
        batches = torch.randperm(len(data), generator=generator).split(BATCH)
        train(network, optimizer, ((inputs[at], targets[at]) for at in batches))

    return name, network, inputs[order], targets[order], epoch
