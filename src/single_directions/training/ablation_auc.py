"""The area under the ablation curve after every epoch of any Lightning training: a signal to stop by."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from single_directions.ablation import AblationEstimate, ablation_auc
from single_directions.ablation.adapting import Output, with_logits
from single_directions.ablation.estimate import Plan, RepeatedEstimate
from single_directions.ablation.measurement import MEMORY_BUDGET, Batches, Clamp, measurement
from single_directions.ablation.orderings import grid
from single_directions.ablation.places import UnitDim
from single_directions.ablation.sites import Site, as_written, undisturbed
from single_directions.ablation.strata import strata_of
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.training.budget import plan_for, told_cost, with_masks_for
from single_directions.training.estimates import estimate_from_state, estimate_of_all, estimate_state
from single_directions.training.frameworks import Callback, in_each
from single_directions.training.images import Images, Wanted, read
from single_directions.training.monitors import doubtful_monitors
from single_directions.training.precision import Context, context_for
from single_directions.training.quiet import unwarned
from single_directions.training.seeds import derived_seed
from single_directions.training.signal import diverged, fall, is_better, logged

if TYPE_CHECKING:
    import pandas as pd
    import pytorch_lightning as pl

SIGNALS = ("auc", "auc_normalized", "auc_corrected")
SWA = in_each("callbacks", "StochasticWeightAveraging")
AVERAGING = SWA + in_each("callbacks", "WeightAveraging")
MODULES = in_each("core.module", "LightningModule")
_REHEARSED = 64
"""Images that are measured before the first epoch, to see that measuring works."""


class AblationAUC(Callback):
    """Estimates the area under the ablation curve of the network that is trained, and logs it (section 3.2, Figure 3).

    Logged are `ablation/auc`, `ablation/auc_normalized`, `ablation/auc_corrected` and `ablation/accuracy` (nothing
    ablated), each with its standard error, `ablation/auc_se` and so on, all on training images with the labels trained
    with. `ablation/fall` is how far `signal` is below its best value so far, in standard errors of that change,
    corrected for the best value being partly luck (`signal.fall`). So a stock callback stops only on what noise does
    not explain (epochs whose accuracy is not above chance do not count):

    ``EarlyStopping("ablation/fall", mode="min", divergence_threshold=3, patience=1000)``

    To stop by a value itself, monitor the corrected AUC. The raw one goes on rising while wrong labels are learnt
    (docs/results/stopping). With true labels there is little to stop for; with shuffled labels the corrected AUC is
    highest up to three epochs before the best network.

    Values are logged after the validation loop in epochs that have one, else at the end of the epoch. If validation
    runs several times an epoch (``Trainer(val_check_interval=0.25)``), so does the measurement, each time at the full
    cost. It works with `pytorch_lightning` and with `lightning` (``import lightning as L``), version 2.6 or newer.

    Images and masks are the same after every epoch: each image has a few masks of its own (`ablation_auc`). One line at
    the start says how many, and what they cost. Training goes on as if nothing had been measured: modes, random states
    and buffers are left as they were, and what `forward` logs meanwhile is dropped. With callbacks that average weights
    (`WeightAveraging`, `EMAWeightAveraging`, `StochasticWeightAveraging`) the weights that are trained are measured,
    never the averages. Where a network has no accuracy to lose, as before it has learned anything, -2 is logged for
    `auc_corrected`; else it is at least -1. So such an epoch never becomes the best. Logits that are not finite give
    NaN, at which `EarlyStopping` stops. If the network gets other units, or images of a batch begin or cease to
    influence each other, it is measured with other masks from then on: a warning says so, and `ablation/fall` starts
    anew.

    The images are drawn from those that an epoch trains on, as the training's sampler, `limit_train_batches` and
    `overfit_batches` say, and pass through `on_before_batch_transfer` and `on_after_batch_transfer`. Augmentation is
    drawn from `seed`. Images, those of `batches` too, are read in worker processes if the training has any, and are
    kept in memory.

    Each of several processes measures its share of the images, and all log the same estimate. With ``clamp="mean"``
    each measures all images. The network is run in the precision of its weights, or in float32 under mixed
    precision; one whose `forward` fails in float32 is run under autocast.

    Args:
        sites, clamp, top_k, unit_dim: as `ablation_auc`.
        every_n_epochs: measure after each n-th epoch, and after the first, so that a stopper has something to look at.
        cost: share of an epoch's arithmetic to spend on masks: ``cost * 3`` masks for each image that an epoch trains
            on. Passes without a mask come on top. At least 1,000 masks are measured, and 500 in each process. Where a
            mask costs less than a forward pass, a short epoch gets more masks for its share, up to ``cost * 150_000``.
            If passes are left over, there are more images, with fewer masks each.
        samples: how many images at most; ``None`` for as many as make the errors smallest for `cost`.
        batches: measure on these instead of the training data, such as images without augmentation. They are read once,
            at the start of training, and pass through the same hooks, in validation.
        seed: draws images and masks.
        network: the name of the attribute of the LightningModule that is the network, such as ``"net"`` or
            ``"model.backbone"``; ``None`` is the LightningModule itself, which needs a `forward` then.
        batch_to_xy: turns a batch into (inputs, targets), where it is not such a pair of tensors.
        signal: whose fall is logged: ``"auc_corrected"``, ``"auc_normalized"`` or ``"auc"``.
        name: what the names of logged values begin with. Several callbacks in one training need different names.
        output: as `ablation_auc`.
        memory_budget: bytes that the images may take in each process, and as `ablation_auc`. If they take more, fewer
            images are measured, with more masks each.

    Attributes:
        values: what was logged, by `trainer.current_epoch`, which is 0 in the first; the last of several in an epoch.
        curves: float64, (points, 2), accuracy at each point and its standard error, by epoch, as `values`.
        latest: the newest `AblationEstimate`, None before there is one.
        seconds: spent measuring at the ends of epochs, over all parts of a training that was cut off.

    All but `latest` travel in checkpoints.

    Raises:
        BadInput: before the first epoch, if anything would keep it from measuring.
    """

    def __init__(
        self,
        sites: Sequence[str] | None = None,
        every_n_epochs: int = 1,
        cost: float = 0.05,
        samples: int | None = None,
        clamp: Clamp = "zero",
        top_k: int = 1,
        batches: Batches | None = None,
        seed: int = 0,
        network: str | None = None,
        batch_to_xy: Callable[[Any], Any] | None = None,
        signal: str = "auc_corrected",
        name: str = "ablation",
        memory_budget: int = MEMORY_BUDGET,
        unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
        output: Output | None = None,
    ) -> None:
        numbers = {"every_n_epochs": every_n_epochs, "memory_budget": memory_budget}
        for key, number in {**numbers, "samples": 1 if samples is None else samples}.items():
            if not isinstance(number, int) or number < 1:
                raise BadInput(f"{key}={number!r}: a whole number of at least 1 is needed")
        if not isinstance(cost, int | float) or not 0 < cost < float("inf"):
            raise BadInput(f"cost={cost!r}: a number above 0 is needed, the share of an epoch's arithmetic")
        if not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise BadInput(f"seed={seed!r}: a whole number of at least 0 is needed, below 2**63")
        if signal not in SIGNALS:
            raise BadInput(f"signal={signal!r}: one of {', '.join(SIGNALS)}")
        self.sites, self.clamp, self.top_k, self.cost, self.seed = sites, clamp, top_k, cost, seed
        self.unit_dim, self.output, self.memory_budget = unit_dim, output, memory_budget
        self.every_n_epochs, self.samples, self.batches = every_n_epochs, samples, batches
        self.network, self.batch_to_xy, self.signal, self.name = network, batch_to_xy, signal, name
        self._forget()

    def _forget(self) -> None:
        self.values: dict[int, dict[str, float]] = {}
        self.curves: dict[int, Tensor] = {}
        self.latest: AblationEstimate | None = None
        self.seconds = 0.0
        self._best: AblationEstimate | None = None
        self._measurements = 0  # more than `values` has if validation runs several times an epoch
        self._units: dict[int, int] = {}  # by epoch, as `values`: a network may grow
        self._restarted = False
        self._known: dict[str, Any] = {}
        self._module: int | None = None
        self._images: Images | None = None
        self._plan: Plan | None = None
        self._network: nn.Module | None = None
        self._repeated: RepeatedEstimate | None = None
        self._context: Context | None = None
        self._validated: int | None = None
        self._fresh: dict[str, float] | None = None

    @property
    def state_key(self) -> str:
        """Tells apart callbacks of different names in a checkpoint."""
        return self._generate_state_key(name=self.name)

    def to_frame(self) -> "pd.DataFrame":
        """The curves of all epochs: epoch (1 is the first), units_ablated, fraction_ablated, accuracy, accuracy_se."""
        import pandas as pd

        whole = torch.empty(0, 5, dtype=torch.float64)
        for epoch, curve in self.curves.items():
            ablated = grid(self._units[epoch])[:, None]
            number = torch.full_like(ablated, epoch + 1)
            whole = torch.cat([whole, torch.cat([number, ablated, ablated.double() / self._units[epoch], curve], 1)])
        frame = pd.DataFrame(
            whole.numpy(), columns=["epoch", "units_ablated", "fraction_ablated", "accuracy", "accuracy_se"]
        )
        return frame.astype({"epoch": "int64", "units_ablated": "int64"})

    @property
    def form(self) -> dict[str, int]:
        """How many images, masks and points each epoch measures; empty before training has started."""
        return self._known.get("form", {})

    def setup(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        """Forgets the values of another training, before those of a checkpoint are loaded."""
        if stage == "fit":
            if trainer.current_epoch == 0 or self._module != id(pl_module):  # a trainer may go on with another network
                self._forget()
            self._module = id(pl_module)

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Reads the images, and measures a few of them: what cannot work fails here, before the first epoch."""
        self._validated = self._fresh = self._context = None
        with _aside(trainer, pl_module):
            # A network whose layers have no width yet is looked at in a copy, so its initialization stays as it was.
            network = as_written(with_logits(find_network(pl_module, self.network), self.output))
            images = self._read(trainer, network)
            plan = self._planned_for(trainer, network, images)
            self._rehearse(trainer, network, images.batches)
        form = self._form(trainer, images, plan)
        settings = {key: getattr(self, key) for key in ("clamp", "top_k", "seed", "signal")}
        settings["sites"] = _described(plan.sites)
        self._check_alike(form, settings, plan.together)
        if self.values:
            # After a resume, stoppers look for a value in epochs that do not measure; loggers have had it already.
            newest = self._named(self.values[max(self.values)])
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in newest.items()})
        self._tell(trainer, images, plan)
        self._images, self._plan, self._repeated = images, plan, None
        drawn = {name: getattr(images, name) for name in ("indices", "population", "first")}
        self._known = {"form": form, "settings": settings, "together": plan.together, **drawn}

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
        """Lets go of the images, and of what was prepared."""
        self._images = self._network = self._repeated = self._context = None

    def state_dict(self) -> dict[str, Any]:
        """What was measured as tensors, numbers and strings, for which a checkpoint needs to run no code."""
        return {
            "values": {epoch: dict(values) for epoch, values in self.values.items()},
            "curves": dict(self.curves),
            "units": dict(self._units),
            "best": None if self._best is None else estimate_state(self._best),
            "measurements": self._measurements,
            "known": self._known,
            "seconds": self.seconds,
        }

    def on_load_checkpoint(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", checkpoint: Any) -> None:
        """Warns where the checkpoint has no values of this name, but some of a name that no callback has now."""
        saved = {key for key in checkpoint["callbacks"] if str(key).startswith(f"{type(self).__qualname__}{{")}
        lost = saved - {one.state_key for one in trainer.callbacks}  # type: ignore[attr-defined]
        if lost and self.state_key not in saved:
            rank_zero_warn(
                f"{type(self).__name__}: the checkpoint has no values of name={self.name!r}, so they begin anew. It "
                f"has those of {', '.join(sorted(lost))}; to go on with them, set the name as it was"
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where a checkpoint ended."""
        if "values" not in state_dict:
            raise BadInput(
                f"{type(self).__name__}: the checkpoint is of an earlier version, which measured in another way; train "
                "again"
            )
        self.values, self.curves = dict(state_dict["values"]), dict(state_dict["curves"])
        units = state_dict["units"]  # in a checkpoint of an earlier version the same in all epochs
        self._units = dict(units) if isinstance(units, dict) else dict.fromkeys(self.curves, units)
        self._best = None if state_dict["best"] is None else estimate_from_state(state_dict["best"])
        self._measurements = state_dict.get("measurements", len(self.values))
        self._known, self.seconds = state_dict["known"], state_dict["seconds"]

    def _parts(self, trainer: "pl.Trainer") -> int:
        """How many processes share the images: with a mean over all images each process needs them all."""
        return 1 if self.clamp == "mean" else trainer.world_size

    def _read(self, trainer: "pl.Trainer", network: nn.Module) -> Images:
        def enough(inputs: Tensor, available: int, epoch: int) -> int:
            return self._planned(trainer, network, inputs, available, epoch).images

        before = (self._known.get(name) for name in ("indices", "population"))
        wanted = Wanted(enough, self.samples, self.seed, self.batches, self.batch_to_xy, self.memory_budget, *before)
        return read(trainer, wanted, (trainer.global_rank if self._parts(trainer) > 1 else 0, self._parts(trainer)))

    def _in_precision(self, trainer: "pl.Trainer", network: nn.Module, inputs: Tensor) -> AbstractContextManager[Any]:
        """The precision to run the network in."""
        if self._context is None:
            self._context = context_for(trainer.precision_plugin, network, inputs[:_REHEARSED])
        return self._context()

    def _planned(self, trainer: "pl.Trainer", network: nn.Module, inputs: Tensor, available: int, epoch: int) -> Plan:
        settings = self.sites, self.cost, epoch, trainer.world_size, self.memory_budget, self.unit_dim
        with self._in_precision(trainer, network, inputs), unwarned():  # the rehearsal warns
            return plan_for(network, inputs, available, *settings)

    def _planned_for(self, trainer: "pl.Trainer", network: nn.Module, images: Images, together: bool = False) -> Plan:
        """What to measure of the images in memory; `together`: those of a batch are known to influence each other."""
        plan = self._planned(trainer, network, images.batches[0][0], images.number, images.epoch)
        return with_masks_for(plan, len(images.batches)) if together or plan.together else plan

    def _form(self, trainer: "pl.Trainer", images: Images, plan: Plan) -> dict[str, int]:
        masks = images.number * plan.masks_per_image
        return {"images": images.number, "masks": masks, "processes": self._parts(trainer)}

    def _rehearse(self, trainer: "pl.Trainer", network: nn.Module, batches: list[Batch]) -> None:
        """Measures a few images at two points, for the errors that it meets and for what it warns of.

        Looks at the shapes and targets of all images.
        """
        settings = self.sites, 1, 2, self.clamp, self.top_k, self.seed
        inputs, targets = batches[0]
        with self._in_precision(trainer, network, inputs):
            ablation_auc(network, [(inputs[:_REHEARSED], targets[:_REHEARSED])], *settings, unit_dim=self.unit_dim)
            with (
                unwarned(),
                measurement(
                    network, batches, self.sites, "zero", self.top_k, "reference", self.memory_budget, self.unit_dim
                ),
            ):
                pass

    def _tell(self, trainer: "pl.Trainer", images: Images, plan: Plan) -> None:
        """Says what is measured, and what its user may not expect."""
        name = type(self).__name__
        sites, masks = len(plan.sites), images.number * plan.masks_per_image
        classes = isinstance(images.population, Tensor) and strata_of(images.population, images.number).any()
        line = (
            f"{name}: {sites} site{'s' * (sites != 1)}, {sum(site.units for site in plan.sites):,} units; "
            f"{images.number:,} image{'s' * (images.number != 1)} {images.source}; "
            f"{'weighted by class; ' if classes and not plan.together else ''}"
            f"{masks:,} masks, {told_cost(plan.passes, images.epoch)}"
        )
        averaging = [type(one).__name__ for one in trainer.callbacks if isinstance(one, AVERAGING)]  # type: ignore[attr-defined]
        if averaging:
            line += f"; the weights trained are measured, not the averages of {', '.join(averaging)}"
        rank_zero_info(line)
        if images.random:
            rank_zero_warn(
                f"{name}: the training images are augmented at random; each is measured as seed={self.seed} draws it, "
                "the same after every epoch. To measure plain images, give batches="
            )
        if images.unsteady:
            rank_zero_warn(
                f"{name}: an image that is read twice with the same seed is not the same. The data set seems to keep a "
                "counter or a generator of its own, which measuring advances, so training is not as it would be "
                "without. Read in workers (num_workers), or measure images of another data set: batches="
            )
        first = self._known.get("first")
        if self.values and first is not None and not _alike(first, images.first):
            rank_zero_warn(
                f"{name}: the images are not those measured before the training was cut off; values before and after "
                "cannot be compared. Is their augmentation drawn from a generator of its own?"
            )
        for warning in doubtful_monitors(trainer, self.name, self.every_n_epochs):
            rank_zero_warn(warning)

    def _check_alike(self, now: dict[str, int], settings: dict[str, Any], together: bool) -> None:
        """Raises `BadInput` where a resumed training would go on with values that those so far do not compare to."""
        before, earlier = self._known.get("form", now), self._known.get("settings", settings)
        if not self.values:
            return
        for key in settings:
            if earlier[key] != settings[key]:
                raise BadInput(
                    f"{type(self).__name__}: {key} is not what it was before this training was cut off, so the values "
                    "before and after cannot be compared: set it as it was, or train again"
                )
        if before != now and self._known.get("together", together) == together:  # else the network made it another
            told = [
                f"{one['images']} images with {one['masks']} masks (processes: {one['processes']})"
                for one in (before, now)
            ]
            raise BadInput(
                f"{type(self).__name__}: this training was measured on {told[0]} before it was cut off, and would be "
                f"on {told[1]} now: set cost, samples and devices as they were, or train again"
            )

    def _measure_if_due(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        epoch = trainer.current_epoch
        if is_due(epoch, self.every_n_epochs, self.values) and not _only_updates_averages(trainer):
            start = perf_counter()
            self._keep(epoch, self._measure(trainer, find_network(pl_module, self.network)))
            self.seconds += perf_counter() - start

    def _log(self, pl_module: "pl.LightningModule") -> None:
        if self._fresh is not None:
            # All processes have the same values; Lightning warns of what it is not asked to average over them.
            pl_module.log_dict(self._named(self._fresh), sync_dist=True)
            self._fresh = None

    def _named(self, values: dict[str, float]) -> dict[str, float]:
        return {f"{self.name}/{name}": value for name, value in values.items()}

    def _measure(self, trainer: "pl.Trainer", network: nn.Module) -> AblationEstimate | None:
        """The estimate over the images of all processes; None where the network's answers are not finite."""
        assert self._images is not None
        if self._repeated is None or self._network is not network:
            self._network, self._repeated = network, self._prepared(trainer, network)
        inputs = self._images.batches[0][0]
        with _aside(trainer, trainer.lightning_module), unwarned():  # else in every epoch
            with self._in_precision(trainer, self._repeated.network, inputs):
                own = self._estimated(trainer, network) if _finite(self._repeated.network, inputs) else None
            return own if self._parts(trainer) == 1 else estimate_of_all(own)

    def _estimated(self, trainer: "pl.Trainer", network: nn.Module) -> AblationEstimate:
        """This process's estimate, planned anew if images have begun, or ceased, to influence each other."""
        assert self._repeated is not None
        assert self._images is not None
        assert self._plan is not None
        together = True
        try:
            own = self._repeated()
            together = own.classes is None
            if together == self._plan.together:
                return own
        except BadInput:  # a batch that shares its masks needs more of them
            if self._plan.together:
                raise
        plan = self._planned_for(trainer, as_written(self._repeated.network), self._images, together)
        self._plan = replace(plan, together=together)
        self._known = {**self._known, "form": self._form(trainer, self._images, plan), "together": together}
        self._repeated = self._prepared(trainer, network)
        return self._repeated()

    def _prepared(self, trainer: "pl.Trainer", network: nn.Module) -> RepeatedEstimate:
        assert self._images is not None
        assert self._plan is not None
        each, images = self._plan.masks_per_image, sum(len(targets) for _, targets in self._images.batches)
        seed = self.seed
        if self._parts(trainer) > 1:  # else images of different processes would have the same masks
            seed = derived_seed(self.seed, "masks", trainer.global_rank)
        return RepeatedEstimate(
            network,
            self._images.batches,
            output=self.output,
            sites=self.sites,
            masks=max(1, each) * images,
            masks_per_image=each or None,
            clamp=self.clamp,
            top_k=self.top_k,
            seed=seed,
            population=self._images.population,
            memory_budget=self.memory_budget,
            unit_dim=self.unit_dim,
        )

    def _keep(self, epoch: int, estimate: AblationEstimate | None) -> None:
        self.latest = estimate
        self._measurements += 1
        if estimate is None:
            self._fresh = diverged()
            assert self._plan is not None
            self._units[epoch] = sum(site.units for site in self._plan.sites)
            self.curves[epoch] = torch.full((len(grid(self._units[epoch])), 2), torch.nan, dtype=torch.float64)
        else:
            self._fresh = {**logged(estimate), "fall": self._fall(estimate)}
            self._units[epoch] = estimate.units
            self._known["settings"]["sites"] = _described(estimate.sites)
            self.curves[epoch] = torch.stack([estimate.curve, estimate.curve_se], dim=1)
            if is_better(estimate, self._best, self.signal):
                self._best = estimate
        self.values[epoch] = self._fresh

    def _fall(self, estimate: AblationEstimate) -> float:
        """`signal.fall`, which starts anew where the estimate cannot be compared with the best so far."""
        try:
            return fall(estimate, self._best, self.signal, self._measurements)
        except BadInput:
            if not self._restarted:
                rank_zero_warn(
                    f"{type(self).__name__}: the network is no longer measured as in earlier epochs: it has other "
                    "units, or images of a batch have begun or ceased to influence each other. Values are not compared "
                    f"on pairs with those before: {self.name}/fall starts anew, now and at each such change"
                )
            self._best, self._measurements, self._restarted = None, 1, True
            return 0.0


def find_network(pl_module: nn.Module, name: str | None) -> nn.Module:
    """The network in a LightningModule: the attribute of this (dotted) name, or the LightningModule itself.

    Raises:
        BadInput: there is none, or the LightningModule itself has no `forward`.
    """
    children = ", ".join(name for name, _ in pl_module.named_children())
    if name is None:
        if "forward" not in vars(pl_module) and type(pl_module).forward in [vars(kind)["forward"] for kind in MODULES]:
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


def _only_updates_averages(trainer: "pl.Trainer") -> bool:
    """Whether this is the epoch that `StochasticWeightAveraging` adds for batch norm, with the averages as weights."""
    swa = [one for one in trainer.callbacks if isinstance(one, SWA)]  # type: ignore[attr-defined]
    return any(one._max_epochs != -1 and trainer.current_epoch > one.swa_end for one in swa)


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-2, atol=1e-2)


def _described(sites: Iterable[Site]) -> list[tuple[Any, ...]]:
    """Sites as a checkpoint holds them."""
    return [tuple(vars(site).values()) for site in sites]


def _finite(network: nn.Module, inputs: Tensor) -> bool:
    """Whether the network still gives numbers. It may change its inputs in place."""
    device = next((parameter.device for parameter in network.parameters()), inputs.device)
    with undisturbed(network):
        return bool(network(inputs[:_REHEARSED].to(device).clone()).isfinite().all())


@contextmanager
def _aside(trainer: "pl.Trainer", pl_module: nn.Module) -> Iterator[None]:
    """Within it nothing random is taken from the training, and what a `forward` logs is dropped."""
    device = trainer.strategy.root_device
    modules = [vars(module) for module in pl_module.modules() if isinstance(module, MODULES)]
    before = [{name: own[name] for name in ("log", "log_dict") if name in own} for own in modules]
    with isolate_rng(include_cuda=False), torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            for own in modules:
                own.update(log=_dropped, log_dict=_dropped)
            yield
        finally:
            for own, replaced in zip(modules, before, strict=True):
                del own["log"], own["log_dict"]
                own.update(replaced)


def _dropped(*values: Any, **settings: Any) -> None:
    """Stands for a LightningModule's `log`, so that the answers of ablated networks are not logged."""
