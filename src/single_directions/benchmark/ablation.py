"""Methods of ablation against the definition."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, mm_flop

from single_directions.ablation.accuracy import tally
from single_directions.ablation.curve import ablation_curve
from single_directions.ablation.measurement import MEMORY_BUDGET, Measurement, measurement
from single_directions.ablation.orderings import draw_orderings, grid
from single_directions.ablation.reference import Reference
from single_directions.benchmark.callback import resnet18
from single_directions.benchmark.clock import Record, product_rate, timed
from single_directions.errors import BadInput
from single_directions.networks import MLP, ConvNet, ResNet50

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """One network and one curve to measure of it.

    Attributes:
        network: makes it.
        input_shape: (C, H, W) of an image; contents are noise, which changes no time.
        images, orderings, points: of the curve.
        reference_batches: batch sizes to try the reference with; the fastest counts.
        methods: what is timed against the reference.
        small: so little work that all of it is timed, preparations included, for the reference too.
    """

    network: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    images: int
    orderings: int = 10
    points: int | Literal["all"] = 51
    reference_batches: tuple[int, ...] = ()
    methods: tuple[str, ...] = ("incremental", "prefix", "auto")
    classes: int = 10
    small: bool = False

    def batches(self, size: int, device: str) -> Batches:
        """The images and targets, in batches."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(self.images, *self.input_shape, generator=generator).to(device)
        targets = torch.randint(self.classes, (self.images,), generator=generator).to(device)
        return list(zip(images.split(size), targets.split(size), strict=True))


def _mlp() -> nn.Module:
    return MLP((1, 28, 28), 10, hidden=(512, 512))


def _small(name: str, size: int, images: int) -> Case:
    """Few images of `size` pixels through a network of torchvision's."""
    network = partial(getattr(torchvision.models, name), num_classes=10)
    return Case(network, (3, size, size), images, 2, 5, reference_batches=(images,), small=True)


CASES = {
    "mlp": Case(_mlp, (1, 28, 28), 10_000, reference_batches=(1000, 10_000)),
    "convnet": Case(lambda: ConvNet((3, 32, 32), 10), (3, 32, 32), 500, reference_batches=(50, 100, 250, 500)),
    "resnet50": Case(
        lambda: ResNet50((3, 224, 224), 1000), (3, 224, 224), 16, reference_batches=(4, 8, 16), classes=1000
    ),
    # Where little is measured, or most of the network varies, a fast method may cost more than it saves.
    "resnet18": Case(
        resnet18, (3, 32, 32), 32, orderings=2, points=21, reference_batches=(16, 32), methods=("incremental", "auto")
    ),
    "small_vgg11_bn": _small("vgg11_bn", 32, 32),
    "small_alexnet": _small("alexnet", 64, 16),
    "small_resnet18": _small("resnet18", 32, 16),
    "small_mobilenet_v3_small": _small("mobilenet_v3_small", 64, 16),
    "small_mnasnet0_5": _small("mnasnet0_5", 64, 16),
    "exact": Case(_mlp, (1, 28, 28), 10_000, points="all", reference_batches=(1000, 10_000), methods=("incremental",)),
}


def ablation(names: Sequence[str] = tuple(CASES), repeats: int = 3, device: str = "cpu") -> Iterator[list[Record]]:
    """Time each method in each case; one list of records a case, as soon as it is done.

    The reference and the prefix method are timed on a few points of one ordering and scaled, since each of their points
    costs the same. `floor_seconds` is the arithmetic of the method over the rate of matrix products in this run,
    `max_logit_difference` is in parts of the largest logit.
    """
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise BadInput(f"case {unknown[0]!r}: one of {', '.join(CASES)}")
    rate = product_rate(device)
    for name in names:
        yield _time_case(name, CASES[name], repeats, device, rate)


def _time_case(name: str, case: Case, repeats: int, device: str, rate: float) -> list[Record]:
    torch.manual_seed(0)
    network = case.network().to(device).eval()
    methods = [("reference", size) for size in case.reference_batches]
    methods += [(method, case.images) for method in case.methods]
    seconds: dict[tuple[str, int], list[float]] = {one: [] for one in methods}
    for _ in range(repeats):
        for method, size in methods:
            time = _whole if method in _WHOLE or case.small else _scaled
            seconds[method, size].append(time(network, case, method, size, device))
    medians = {one: statistics.median(values) for one, values in seconds.items()}
    reference = min(medians["reference", size] for size in case.reference_batches)
    records = []
    for method in ("reference", *case.methods):
        own, size = min((value, size) for (other, size), value in medians.items() if other == method)
        operations, difference, chosen = _arithmetic_and_difference(network, case, method, device)
        records.append(
            {
                "case": name,
                "method": method,
                "chosen": chosen,
                "seconds": own,
                "ratio_to_reference": reference / own,
                "floor_seconds": operations / rate,
                "max_logit_difference": difference,
                "tflop": operations / 1e12,
                "images": case.images,
                "orderings": case.orderings,
                "points": case.points,
                "batch": size,
                "timed": "whole curve" if method in _WHOLE or case.small else _SCALED,
                "product_gflops": rate / 1e9,
            }
        )
    return records


_FEW = 5
_WHOLE = ("incremental", "auto")
_SCALED = f"{_FEW} points of one ordering, scaled"


def _open(network: nn.Module, case: Case, method: str, size: int, device: str) -> Any:
    form = (case.orderings, case.points)
    return measurement(network, case.batches(size, device), None, "zero", 1, method, MEMORY_BUDGET, form=form)


def _scaled(network: nn.Module, case: Case, method: str, size: int, device: str) -> float:
    """Seconds of a whole curve: the work done once per batch, and that of a few points of one ordering, scaled."""
    with _open(network, case, method, size, device) as measured:
        units = measured.network.units
        few = grid(units, _FEW)
        (ordering,) = draw_orderings(units, 1)
        counts = torch.zeros(_FEW, dtype=torch.int64, device=device)
        once, points = 0.0, 0.0
        for number, (inputs, targets) in enumerate(measured.images()):
            start = partial(measured.method.start, inputs)
            sweep = partial(_sweep, measured, ordering, few, targets, counts)
            if number == 0:  # warm up
                start()
                sweep()
            once += timed(start, device)
            points += timed(sweep, device)
        return once + points * case.orderings * len(grid(units, case.points)) / _FEW


def _sweep(measured: Measurement, ordering: Tensor, ablated: Tensor, targets: Tensor, counts: Tensor) -> None:
    tally(measured.method.cumulative(ordering, ablated.tolist()), targets, 1, counts)


def _whole(network: nn.Module, case: Case, method: str, size: int, device: str) -> float:
    """Seconds of a whole curve, with all that is needed once."""
    batches = case.batches(size, device)
    return timed(
        lambda: ablation_curve(network, batches, orderings=case.orderings, points=case.points, method=method), device
    )


def _arithmetic_and_difference(network: nn.Module, case: Case, method: str, device: str) -> tuple[float, float, str]:
    """Operations of the whole curve, how far logits are from the reference in parts of the largest, and the method."""
    with _open(network, case, method, case.images, device) as measured:
        units = measured.network.units
        ablated = grid(units, case.points) if method in _WHOLE else grid(units, _FEW)
        orderings = draw_orderings(units, case.orderings)
        inputs, _ = next(measured.images())
        reference = Reference(measured.network, measured.values)
        with _counter() as before:
            measured.method.start(inputs)
        with _counter() as sweep:
            for _ in measured.method.cumulative(orderings[0], ablated.tolist()):
                pass
        reference.start(inputs[:64])
        measured.method.start(inputs[:64])
        few = grid(units, _FEW).tolist()
        expected = dict(reference.cumulative(orderings[0], few))
        found = measured.method.cumulative(orderings[0], few)
        scale = max(float(logits.abs().max()) for logits in expected.values())
        difference = max(float((logits - expected[point]).abs().max()) for point, logits in found) / scale
        points = len(grid(units, case.points))
        portions = case.images / len(inputs)
        per_ordering = sweep.get_total_flops() * points / len(ablated)
        work = portions * (before.get_total_flops() + case.orderings * per_ordering)
        return work, difference, measured.method.name


def _counter() -> FlopCounterMode:
    def in_place(_: Any, a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return mm_flop(a, b)

    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place})
