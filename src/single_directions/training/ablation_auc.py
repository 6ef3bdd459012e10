"""The area under the ablation curve after every epoch of any Lightning training: a signal to stop by."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from single_directions.ablation import AblationCurve, Site, ablation_curve, resolve_sites
from single_directions.ablation.measurement import MEMORY_BUDGET, Batches, Clamp
from single_directions.ablation.orderings import Points
from single_directions.ablation.sites import as_written, undisturbed
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.training.counts import CurveCounts
from single_directions.training.frameworks import Callback, in_each
from single_directions.training.images import Images, Wanted, read
from single_directions.training.monitors import doubtful_monitors

if TYPE_CHECKING:
    import pytorch_lightning as pl

SAMPLES, ORDERINGS, POINTS = 500, 20, 21
"""The defaults; docs/defaults.md says what they are good for."""
SWA = in_each("callbacks", "StochasticWeightAveraging")
AVERAGING = SWA + in_each("callbacks", "WeightAveraging")
_REHEARSED = 64
"""Images that are measured before the first epoch, to see that measuring works."""


class AblationAUC(Callback):
    """Measures the ablation curve of the network that is trained, and logs the area under it (section 3.2, Figure 3).

    Logged are `ablation/auc`, `ablation/auc_normalized`, `ablation/auc_corrected` (means over orderings),
    `ablation/auc_std` (standard deviation over orderings, where there are two or more) and `ablation/accuracy` (nothing
    ablated), all on training images with the labels trained with: after the validation loop in epochs that have one,
    else at the end of the epoch. Lightning's own callbacks find them: ``EarlyStopping("ablation/auc", mode="max")``,
    ``ModelCheckpoint(monitor="ablation/auc", mode="max")``. If validation runs several times an epoch
    (``Trainer(val_check_interval=0.25)``), so does the measurement, each time at the full cost.

    It works with `pytorch_lightning` and with `lightning` (``import lightning as L``), version 2.6 or newer.

    Images and orderings are the same after every epoch. Training goes on as if nothing had been measured: modes, random
    states and statistics are left as they were. With callbacks that average weights (`WeightAveraging`,
    `EMAWeightAveraging`, `StochasticWeightAveraging`) the weights that are trained are measured, never the averages.
    A network that has no accuracy to lose (`auc_corrected`, where accuracy is not above chance) counts as 0. Logits
    that are not finite give NaN, at which `EarlyStopping` stops.

    The images are drawn from those that an epoch trains on, as the training's sampler, `limit_train_batches` and
    `overfit_batches` say, and pass through `on_before_batch_transfer` and `on_after_batch_transfer`. Augmentation is
    drawn from `seed`. The data set is read in worker processes if the training does so.

    Of several processes each measures its share of the images, and all log the one curve. With ``clamp="mean"`` each
    measures all images. The network is run in the precision of its weights, under mixed precision in float32.

    Args:
        sites: as `ablation_curve`; ``None`` is the network's ``default_sites``, or every ReLU.
        every_n_epochs: measure after each n-th epoch, and after the first, so that a stopper has something to look at.
        samples: how many images at most; ``None`` is 500 of the train data, or all of `batches`.
        orderings, clamp, top_k, method: as `ablation_curve`.
        points: as `ablation_curve`; ``None`` is 21, or all where there are fewer.
        batches: measure on these instead of the train data, such as images without augmentation. They are read once, at
            the start of training, and pass through the same hooks, in validation.
        seed: which images and orderings.
        network: the name of the attribute of the LightningModule that is the network, such as ``"net"`` or
            ``"model.backbone"``; ``None`` is the LightningModule itself, which needs a `forward` then.
        batch_to_xy: turns a batch into (inputs, targets), where it is not such a pair of tensors.
        name: what the names of logged values begin with.
        memory_budget: bytes of memory that the images may take in each process; fewer are measured if they take more.

    Attributes:
        curves: the whole curve of each epoch measured, by `trainer.current_epoch`, which is 0 in the first; the last of
            several in an epoch. They travel in checkpoints.
        seconds: spent measuring at the ends of epochs, over all parts of a training that was cut off.

    Raises:
        BadInput: before the first epoch, for all that would keep it from measuring.
    """

    def __init__(
        self,
        sites: Sequence[str] | None = None,
        every_n_epochs: int = 1,
        samples: int | None = None,
        orderings: int = ORDERINGS,
        points: Points = None,
        clamp: Clamp = "zero",
        top_k: int = 1,
        batches: Batches | None = None,
        seed: int = 0,
        network: str | None = None,
        batch_to_xy: Callable[[Any], Any] | None = None,
        method: str = "auto",
        name: str = "ablation",
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        numbers = {"every_n_epochs": every_n_epochs, "orderings": orderings, "memory_budget": memory_budget}
        for key, number in {**numbers, "samples": 1 if samples is None else samples}.items():
            if not isinstance(number, int) or number < 1:
                raise BadInput(f"{key}={number!r}: a whole number of at least 1 is needed")
        if not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise BadInput(f"seed={seed!r}: a whole number of at least 0 is needed, below 2**63")
        self.sites, self.orderings, self.points, self.clamp = sites, orderings, points, clamp
        self.top_k, self.method, self.seed, self.memory_budget = top_k, method, seed, memory_budget
        self.every_n_epochs, self.samples, self.batches = every_n_epochs, samples, batches
        self.network, self.batch_to_xy, self.name = network, batch_to_xy, name
        self._forget()

    def _forget(self) -> None:
        self.curves: dict[int, AblationCurve] = {}
        self.seconds = 0.0
        self._known: dict[str, Any] = {}
        self._images: Images | None = None
        self._rehearsal: AblationCurve | None = None
        self._validated: int | None = None
        self._fresh: AblationCurve | None = None

    @property
    def state_key(self) -> str:
        """Tells apart callbacks of different names in a checkpoint."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        """Forgets the curves of another training, before those of a checkpoint are loaded."""
        if stage == "fit" and trainer.current_epoch == 0:
            self._forget()

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Reads the images, and measures a few of them: what cannot work fails here, before the first epoch."""
        self._validated = self._fresh = None
        network = find_network(pl_module, self.network)
        with _aside(trainer.strategy.root_device):
            images = self._read(trainer)
            self._rehearsal = self._rehearse(network, images, trainer.strategy.root_device)
        if self.curves:
            self._check_alike(self.curves[max(self.curves)], self._rehearsal, images)
            # After a resume, stoppers look for a value in epochs that do not measure; loggers have had it already.
            newest = self._named(self.curves[max(self.curves)])
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in newest.items()})
        self._images = images
        self._tell(trainer)

    def on_validation_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Measures before validation, for which callbacks may put averaged weights in the place of those trained."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._measure_if_due(trainer, pl_module)
            self._validated = trainer.current_epoch

    def on_validation_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Logs where a validation loop ends, for callbacks that look at what is logged after it."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._log(pl_module)

    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Measures and logs in an epoch without a validation loop."""
        if self._validated != trainer.current_epoch:
            self._measure_if_due(trainer, pl_module)
            self._log(pl_module)

    def teardown(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        """Lets go of the images."""
        self._images = None

    def state_dict(self) -> dict[str, Any]:
        """The curves as tensors, numbers and strings, which a checkpoint can be searched for without running code."""
        curves = {epoch: curve_state(curve) for epoch, curve in self.curves.items()}
        images = {} if self._images is None else {"indices": self._images.indices, "first": self._images.first}
        return {"curves": curves, "seconds": self.seconds, "images": images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where a checkpoint ended."""
        self.curves = {epoch: curve_from_state(state) for epoch, state in state_dict["curves"].items()}
        self.seconds = state_dict.get("seconds", 0.0)
        self._known = state_dict.get("images", {})

    def _read(self, trainer: "pl.Trainer") -> Images:
        # A mean is that of all images, so each process needs them all.
        share = (0, 1) if self.clamp == "mean" else (trainer.global_rank, trainer.world_size)
        samples = SAMPLES if self.samples is None and self.batches is None else self.samples
        indices = self._known.get("indices")
        wanted = Wanted(samples, self.seed, self.batches, self.batch_to_xy, self.memory_budget, indices)
        return read(trainer, wanted, share)

    def _tell(self, trainer: "pl.Trainer") -> None:
        """Says what is measured, and what its user may not expect."""
        assert self._images is not None
        assert self._rehearsal is not None
        curve, images = self._rehearsal, self._images
        line = (
            f"{type(self).__name__}: {len(curve.sites)} sites of {curve.units} units together, {images.number} images "
            f"{images.source}; {len(curve.accuracy)} orderings at {len(curve.units_ablated)} points"
        )
        averaging = [type(one).__name__ for one in trainer.callbacks if isinstance(one, AVERAGING)]  # type: ignore[attr-defined]
        if averaging:
            line += f"; the weights trained are measured, not the averages of {', '.join(averaging)}"
        rank_zero_info(line)
        if images.random:
            rank_zero_warn(
                f"{type(self).__name__}: the training images are augmented at random; each is measured as seed="
                f"{self.seed} draws it, after every epoch the same. To measure plain images, give batches="
            )
        first = self._known.get("first")
        if self.curves and first is not None and not _alike(first, images.first):
            rank_zero_warn(
                f"{type(self).__name__}: the images are not those measured before the training was cut off; values "
                "before and after cannot be compared. Is their augmentation drawn from a generator of its own?"
            )
        for warning in doubtful_monitors(trainer, self.name, self.every_n_epochs):
            rank_zero_warn(warning)

    def _check_alike(self, before: AblationCurve, now: AblationCurve, images: Images) -> None:
        """Raises `BadInput` where a resumed training would go on with areas that are not comparable to those so far."""
        if before.accuracy.shape == now.accuracy.shape and before.images == images.number:
            return
        orderings, points = before.accuracy.shape
        raise BadInput(
            f"AblationAUC: this training was measured by {orderings} orderings at {points} points on {before.images} "
            f"images before it was cut off, and would be by {' at '.join(map(str, now.accuracy.shape))} on "
            f"{images.number} now: set orderings={orderings}, points={points} and samples={before.images}, or train "
            "anew"
        )

    def _measure_if_due(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        epoch = trainer.current_epoch
        if is_due(epoch, self.every_n_epochs, self.curves) and not _only_updates_averages(trainer):
            start = perf_counter()
            self.curves[epoch] = self._fresh = self._measure(trainer, find_network(pl_module, self.network))
            self.seconds += perf_counter() - start

    def _log(self, pl_module: "pl.LightningModule") -> None:
        if self._fresh is not None:
            # All processes have the same values; Lightning warns of what it is not asked to average over them.
            pl_module.log_dict(self._named(self._fresh), sync_dist=True)
            self._fresh = None

    def _named(self, curve: AblationCurve) -> dict[str, Any]:
        return {f"{self.name}/{name}": value for name, value in logged(curve).items()}

    def _measure(self, trainer: "pl.Trainer", network: nn.Module) -> AblationCurve:
        assert self._images is not None
        assert self._rehearsal is not None
        with _aside(trainer.strategy.root_device):
            if _finite(network, self._images.batches[0][0]):
                curve = self._curve(network, self._images.batches, self._rehearsal.units_ablated.tolist())
            else:
                nan = torch.full_like(self._rehearsal.accuracy, torch.nan)
                images = sum(len(targets) for _, targets in self._images.batches)
                curve = replace(self._rehearsal, accuracy=nan, images=images)
            curve = summed(curve, trainer, repeated=self.clamp == "mean")
        # The orderings of all epochs are the same: kept, and saved, once.
        return replace(curve, orderings=self._rehearsal.orderings, units_ablated=self._rehearsal.units_ablated)

    def _curve(self, network: nn.Module, images: Sequence[Batch], points: Points) -> AblationCurve:
        return ablation_curve(
            network,
            images,
            sites=self.sites,
            orderings=self.orderings,
            points=points,
            clamp=self.clamp,
            top_k=self.top_k,
            generator=torch.Generator().manual_seed(self.seed),
            method=self.method,
        )

    def _rehearse(self, network: nn.Module, images: Images, device: torch.device) -> AblationCurve:
        """The curve of a few images, for its form and for the errors that it meets."""
        inputs, targets = (part[:_REHEARSED] for part in images.batches[0])
        points = self.points
        try:
            sites = resolve_sites(network, self.sites, inputs.to(device))
        except BadInput:
            raise
        except Exception as error:  # somebody's own forward()
            shape, cause = tuple(inputs.shape), str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInput(f"network: {type(network).__name__} cannot take inputs {shape}: {cause}") from error
        if points is None:
            points = min(POINTS, 1 + sum(site.units for site in sites))
        curve = self._curve(network, [(inputs, targets)], points)
        logged(curve)  # there is no area unless the points reach from none to all
        return curve


def find_network(pl_module: nn.Module, name: str | None) -> nn.Module:
    """The network in a LightningModule: the attribute of this (dotted) name, or the LightningModule itself.

    Raises:
        BadInput: there is none, or the LightningModule itself has no `forward`.
    """
    children = ", ".join(name for name, _ in pl_module.named_children())
    if name is None:
        if type(pl_module).forward in [vars(kind)["forward"] for kind in in_each("core.module", "LightningModule")]:
            raise BadInput(
                f"network: {type(pl_module).__name__} has no forward() to measure; "
                f"name the attribute that is the network. There are: {children}"
            )
        return pl_module
    try:
        network = attrgetter(name)(pl_module)
    except AttributeError:
        network = None
    if not isinstance(network, nn.Module):
        raise BadInput(
            f"network={name!r}: {type(pl_module).__name__} has no module of this name. There are: {children}"
        )
    return as_written(network)


def is_due(epoch: int, every_n_epochs: int, measured: Iterable[int]) -> bool:
    """Whether to measure in an epoch, counted from 0: after each n-th, and where no earlier one has been measured."""
    return (epoch + 1) % every_n_epochs == 0 or min(measured, default=epoch) >= epoch


def logged(curve: AblationCurve) -> dict[str, float]:
    """What is logged of a curve.

    `auc_corrected` divides by the accuracy that there is to lose, `auc_normalized` by accuracy. Where that is not above
    0 by two standard errors, the ratio is not defined or only noise, and 0 is logged: the least that a network which
    has something to lose would have. A stopper goes on, and takes no such epoch for the best.
    """
    areas = {"auc": curve.auc, "auc_normalized": curve.auc_normalized, "auc_corrected": curve.auc_corrected}
    values = {name: area.mean().item() for name, area in areas.items()}
    start, floor = curve.accuracy[:, [0, -1]].mean(0).tolist()
    if curve.accuracy.isfinite().all() and curve.images:
        for name, least in (("auc_normalized", 0.0), ("auc_corrected", floor)):
            variance = (start * (1 - start) + least * (1 - least)) / curve.images
            if not start - least > 2 * variance**0.5:
                values[name] = 0.0
    values["accuracy"] = start
    return values | ({"auc_std": curve.auc.std().item()} if len(curve.auc) > 1 else {})


def summed(curve: AblationCurve, trainer: "pl.Trainer", repeated: bool) -> AblationCurve:
    """The curve over the images of all processes, or the mean of their curves where each has measured all images."""
    if trainer.world_size == 1:
        return curve
    counts = CurveCounts(*curve.accuracy.shape).to(trainer.strategy.root_device)
    counts.update(curve)
    accuracy, images = counts.compute()
    return replace(curve, accuracy=accuracy, images=int(images) // (trainer.world_size if repeated else 1))


def curve_state(curve: AblationCurve) -> dict[str, Any]:
    """A curve as tensors, numbers and strings."""
    return {**vars(curve), "sites": [(site.name, site.units) for site in curve.sites]}


def curve_from_state(state: dict[str, Any]) -> AblationCurve:
    """The curve again."""
    return AblationCurve(**{**state, "sites": tuple(Site(*site) for site in state["sites"])})


def _only_updates_averages(trainer: "pl.Trainer") -> bool:
    """Whether this is the epoch that `StochasticWeightAveraging` adds for batch norm, with the averages as weights."""
    swa = [one for one in trainer.callbacks if isinstance(one, SWA)]  # type: ignore[attr-defined]
    return any(one._max_epochs != -1 and trainer.current_epoch > one.swa_end for one in swa)


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-2, atol=1e-2)


def _finite(network: nn.Module, inputs: Tensor) -> bool:
    """Whether the network still gives numbers."""
    device = next((parameter.device for parameter in network.parameters()), inputs.device)
    with undisturbed(network):
        return bool(network(inputs[:_REHEARSED].to(device)).isfinite().all())


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """Within it nothing random is taken from the training."""
    devices = [device] if device.type == "cuda" else []
    with isolate_rng(include_cuda=False), torch.random.fork_rng(devices):
        yield
