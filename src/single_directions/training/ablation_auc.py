"""The area under the ablation curve after every epoch of any Lightning training: a signal to stop by."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from operator import attrgetter
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.utils.data import Dataset

from single_directions.ablation import AblationCurve, Site, ablation_curve, resolve_sites
from single_directions.ablation.measurement import Batches, Clamp
from single_directions.ablation.orderings import Points
from single_directions.ablation.places import UnitDim
from single_directions.ablation.sites import as_written, undisturbed
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.training.counts import CurveCounts
from single_directions.training.monitors import doubtful_monitors
from single_directions.training.subset import AtMost, drawn, pair, shared

SAMPLES, ORDERINGS, POINTS = AtMost(500), 20, AtMost(21)
"""The defaults; docs/defaults.md says what they are good for."""
_REHEARSED = 64
"""Images that are measured before the first epoch, to see that measuring works."""


class AblationAUC(pl.Callback):
    """Measures the ablation curve of the network that is trained, and logs the area under it (section 3.2, Figure 3).

    Logged are `ablation/auc` (mean over orderings), `ablation/auc_std` (their standard deviation, where there are two
    or more) and `ablation/accuracy` (nothing ablated), all on training images with the labels trained with: at the end
    of the validation loop in epochs that have one, else at the end of the epoch. Lightning's own callbacks find them:
    ``EarlyStopping("ablation/auc", mode="max")``, ``ModelCheckpoint(monitor="ablation/auc", mode="max")``. Where
    validation runs several times an epoch (``Trainer(val_check_interval=0.25)``), so does the measurement, each time at
    the full cost; a stopper then sees a new value at each check, and its patience counts these.

    Images and orderings are the same after every epoch. Training goes on as if nothing had been measured: modes, random
    states and statistics are left as they were. Only a data set that draws from a random generator of its own notices
    that it was read. Logits that are not finite give an AUC of NaN, at which `EarlyStopping` stops.

    Of several processes each measures its share of the images, and all log the one curve. With ``clamp="mean"`` each
    measures all images. The network is run in the precision of its weights, under mixed precision in float32.

    Args:
        sites: as `ablation_curve`; ``None`` is the network's ``default_sites``, or every activation
            function.
        every_n_epochs: measure after each n-th epoch, and after the first, so that a stopper has something to look at.
        samples: how many training images; ``None`` for all. The default is 500, or all where there are fewer.
        orderings, points, clamp, top_k, method: as `ablation_curve`; the default is 21 points, or all where there are
            fewer.
        batches: measure on these instead of a part of the train data, such as images without augmentation. They are
            read once, at the start of training, and kept in memory, as the part of the train data is.
        seed: which images and orderings.
        network: the name of the attribute of the LightningModule that is the network, such as ``"net"`` or
            ``"model.backbone"``; ``None`` is the LightningModule itself, which needs a `forward` then.
        batch_to_xy: turns a batch into (inputs, targets), where it is not such a pair of tensors.
        name: what the names of logged values begin with.
        unit_dim: as `ablation_curve`.

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
        samples: int | None = SAMPLES,
        orderings: int = ORDERINGS,
        points: Points = POINTS,
        clamp: Clamp = "zero",
        top_k: int = 1,
        batches: Batches | None = None,
        seed: int = 0,
        network: str | None = None,
        batch_to_xy: Callable[[Any], Any] | None = None,
        method: str = "auto",
        name: str = "ablation",
        unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
    ) -> None:
        for key, number in (("every_n_epochs", every_n_epochs), ("samples", samples), ("orderings", orderings)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise BadInput(f"{key}={number!r}: a whole number of at least 1 is needed")
        if not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise BadInput(f"seed={seed!r}: a whole number of at least 0 is needed, below 2**63")
        self.sites, self.orderings, self.points, self.clamp = sites, orderings, points, clamp
        self.top_k, self.method, self.seed, self.unit_dim = top_k, method, seed, unit_dim
        self.every_n_epochs, self.samples, self.batches = every_n_epochs, samples, batches
        self.network, self.batch_to_xy, self.name = network, batch_to_xy, name
        self.curves: dict[int, AblationCurve] = {}
        self.seconds = 0.0
        self._images: list[Batch] = []
        self._rehearsal: AblationCurve | None = None
        self._validated: int | None = None

    @property
    def state_key(self) -> str:
        """Tells apart callbacks of different names in a checkpoint."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forgets the curves of another training, before those of a checkpoint are loaded."""
        if stage == "fit" and trainer.current_epoch == 0:
            self.curves, self.seconds = {}, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reads the images, and measures a few of them: what cannot work fails here, before the first epoch."""
        self._validated = None
        network = find_network(pl_module, self.network)
        with _aside(trainer.strategy.root_device):
            self._images = self._read(trainer)
            self._rehearsal = self._rehearse(network, trainer.strategy.root_device)
        if self.curves:
            self._check_alike(self.curves[max(self.curves)], self._rehearsal, trainer.world_size)
            # After a resume, stoppers look for a value in epochs that do not measure; loggers have had it already.
            newest = self._named(self.curves[max(self.curves)])
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in newest.items()})
        for warning in doubtful_monitors(trainer, self.name, self.every_n_epochs):
            rank_zero_warn(warning)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures where a validation loop ends, for callbacks that look at what is logged after it."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._measure_and_log(trainer, pl_module)
            self._validated = trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures in an epoch without a validation loop."""
        if self._validated != trainer.current_epoch:
            self._measure_and_log(trainer, pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Lets go of the images."""
        self._images = []

    def state_dict(self) -> dict[str, Any]:
        """The curves as tensors, numbers and strings, which a checkpoint can be searched for without running code."""
        curves = {epoch: curve_state(curve) for epoch, curve in self.curves.items()}
        return {"curves": curves, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where a checkpoint ended."""
        self.curves = {epoch: curve_from_state(state) for epoch, state in state_dict["curves"].items()}
        self.seconds = state_dict.get("seconds", 0.0)

    def _check_alike(self, before: AblationCurve, now: AblationCurve, processes: int) -> None:
        """Raises `BadInput` where a resumed training would go on with areas that are not comparable to those so far."""
        images = sum(len(targets) for _, targets in self._images)
        if before.accuracy.shape == now.accuracy.shape and (processes > 1 or before.images == images):
            return
        orderings, points = before.accuracy.shape
        raise BadInput(
            f"AblationAUC: this training was measured by {orderings} orderings at {points} points on {before.images} "
            f"images before it was cut off, and would be by {' at '.join(map(str, now.accuracy.shape))} on {images} "
            f"now: set orderings={orderings}, points={points} and samples={before.images}, or train anew"
        )

    def _measure_and_log(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch
        if is_due(epoch, self.every_n_epochs, self.curves):
            start = perf_counter()
            self.curves[epoch] = self._measure(trainer, find_network(pl_module, self.network))
            self.seconds += perf_counter() - start
            # All processes have the same values; Lightning warns of what it is not asked to average over them.
            pl_module.log_dict(self._named(self.curves[epoch]), sync_dist=True)

    def _named(self, curve: AblationCurve) -> dict[str, Any]:
        return {f"{self.name}/{name}": value for name, value in logged(curve).items()}

    def _measure(self, trainer: pl.Trainer, network: nn.Module) -> AblationCurve:
        assert self._rehearsal is not None
        with _aside(trainer.strategy.root_device):
            if _finite(network, self._images[0][0]):
                curve = self._curve(network, self._images, self._rehearsal.units_ablated.tolist())
            else:
                nan = torch.full_like(self._rehearsal.accuracy, torch.nan)
                curve = replace(self._rehearsal, accuracy=nan, images=sum(len(y) for _, y in self._images))
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
            unit_dim=self.unit_dim,
        )

    def _rehearse(self, network: nn.Module, device: torch.device) -> AblationCurve:
        """The curve of a few images, for its form and for the errors that it meets."""
        inputs, targets = (part[:_REHEARSED] for part in self._images[0])
        points = self.points
        try:
            sites = resolve_sites(network, self.sites, inputs.to(device), self.unit_dim)
        except BadInput:
            raise
        except Exception as error:  # somebody's own forward()
            shape, cause = tuple(inputs.shape), str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInput(f"network: {type(network).__name__} cannot take inputs {shape}: {cause}") from error
        if isinstance(points, AtMost):
            points = min(points, 1 + sum(site.units for site in sites))
        curve = self._curve(network, [(inputs, targets)], points)
        logged(curve)  # there is no area unless the points reach from none to all
        return curve

    def _read(self, trainer: pl.Trainer) -> list[Batch]:
        """This process's images, on the CPU."""
        # A mean is that of all images, so each process needs them all.
        share = (0, 1) if self.clamp == "mean" else (trainer.global_rank, trainer.world_size)
        if self.batches is None:
            loader = drawn(trainer.train_dataloader, self.samples, self.seed, share)
            images = [pair(batch, self.batch_to_xy) for batch in loader]
        elif isinstance(self.batches, Dataset):
            raise BadInput(f"batches: {type(self.batches).__name__} gives single images; give a DataLoader of it")
        else:
            images = list(shared((pair(batch, self.batch_to_xy) for batch in self.batches), share))
        if not images:
            raise BadInput(f"batches: there are no images to measure on, or fewer than the {share[1]} processes")
        return [(trainer.precision_plugin.convert_input(inputs), targets) for inputs, targets in images]


def find_network(pl_module: pl.LightningModule, name: str | None) -> nn.Module:
    """The network in a LightningModule: the attribute of this (dotted) name, or the LightningModule itself.

    Raises:
        BadInput: there is none, or the LightningModule itself has no `forward`.
    """
    children = ", ".join(name for name, _ in pl_module.named_children())
    if name is None:
        if type(pl_module).forward is pl.LightningModule.forward:
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
    """What is logged of a curve."""
    areas = {"auc": curve.auc, "auc_normalized": curve.auc_normalized, "auc_corrected": curve.auc_corrected}
    values = {name: area.mean().item() for name, area in areas.items()}
    values["accuracy"] = curve.accuracy[:, 0].mean().item()
    return values | ({"auc_std": curve.auc.std().item()} if len(curve.auc) > 1 else {})


def summed(curve: AblationCurve, trainer: pl.Trainer, repeated: bool) -> AblationCurve:
    """The curve over the images of all processes, or the mean of their curves where each has measured all images."""
    if trainer.world_size == 1:
        return curve
    counts = CurveCounts(*curve.accuracy.shape).to(trainer.strategy.root_device)
    counts.update(curve)
    accuracy, images = counts.compute()
    return replace(curve, accuracy=accuracy, images=int(images) // (trainer.world_size if repeated else 1))


def curve_state(curve: AblationCurve) -> dict[str, Any]:
    """A curve as tensors, numbers and strings."""
    return {**vars(curve), "sites": [astuple(site) for site in curve.sites]}


def curve_from_state(state: dict[str, Any]) -> AblationCurve:
    """The curve again."""
    return AblationCurve(**{**state, "sites": tuple(Site(*site) for site in state["sites"])})


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
