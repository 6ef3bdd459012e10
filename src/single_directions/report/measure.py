"""The command line: `python scripts/measure.py TARGET` measures a network that was trained before."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from single_directions.ablation import AblationCurve, AblationEstimate, ablation_curve, unit_importance
from single_directions.ablation.measurement import METHODS
from single_directions.errors import BadInput, one_line
from single_directions.experiments.drawing.ablation import curve_figure
from single_directions.experiments.drawing.style import save
from single_directions.runs.build import sample_of
from single_directions.runs.folder import write_json, write_text
from single_directions.runs.precise import areas, precise_auc
from single_directions.runs.target import Target, load_target
from single_directions.training import measuring_loader


def measure() -> None:
    """Measure what a command line names, and write its curve, AUC with standard errors, importances and a figure."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("single_directions").setLevel(logging.INFO)
    try:
        _measure(_arguments())
    except BadInput as error:
        sys.exit(str(error))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="The ablation curve, the AUC with its standard error and unit importances of a trained network.",
        epilog=_EPILOG,
    )
    parser.add_argument("target", help="a run's folder, a Lightning checkpoint (with network=... data=...), or the "
                        "name of a torchvision network (with --weights and data=...)")  # fmt: skip
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="keys of the configuration, such as data.root=..."
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the weights of a torchvision network")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: measured/<name of the target>")
    parser.add_argument("--split", choices=["train", "test"], default="train", help="the images to measure on")
    for name, options in _ABLATION.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    parser.add_argument(
        "--verify", type=int, default=0, metavar="N", help="check this many points against the reference"
    )
    parser.add_argument(
        "--importance", action=argparse.BooleanOptionalAction, default=True, help="measure each unit alone"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_intermixed_args()


def _number(text: str) -> int | str:
    try:
        return text if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither a number nor all") from None


def _clamp(text: str) -> float | str:
    try:
        return text if text in ("zero", "mean") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not zero, mean or a number") from None


_ABLATION: dict[str, dict[str, Any]] = {
    "samples": {"type": _number, "metavar": "N|all", "help": "measure on this many images, balanced by class"},
    "sites": {"nargs": "+", "metavar": "NAME", "help": "places in the network"},
    "orderings": {"type": int},
    "points": {"type": _number, "metavar": "N|all", "help": "numbers of units ablated"},
    "clamp": {"type": _clamp, "metavar": "zero|mean|NUMBER"},
    "top_k": {"type": int},
    "seed": {"type": int, "help": "seed of the orderings and the samples"},
    "method": {"choices": METHODS},
}
"""The options that are keys of the configuration's `ablation`."""
_EPILOG = (
    f"Where --{', --'.join(_ABLATION).replace('_', '-')} is not given, the configuration's ablation key of that name "
    "decides: a run is measured as it was before, all else as conf/train.yaml says."
)


def _keys(arguments: argparse.Namespace, target: Target) -> dict[str, Any]:
    """How to measure: as the command line says, else as the configuration does."""
    asked = {key: value for key in _ABLATION if (value := getattr(arguments, key)) is not None}
    # A run has measured so many of its training images; there may be fewer for testing.
    chosen = any(override.startswith("ablation.samples=") for override in arguments.overrides)
    samples = {"samples": None} if arguments.split == "test" and not chosen else {}
    keys = {**{key: target.ablation[key] for key in _ABLATION}, **samples, **asked}
    return {**keys, "samples": None if keys["samples"] == "all" else keys["samples"]}


def _measure(arguments: argparse.Namespace) -> None:
    target = load_target(arguments.target, arguments.overrides, arguments.weights)
    keys = _keys(arguments, target)
    output: Path = arguments.output or Path("measured") / target.name
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--output {output} cannot be written ({error.strerror})") from error
    split = target.data.train_plain if arguments.split == "train" else target.data.test
    images = sample_of(split, keys["samples"], keys["seed"], "--samples")
    loader = measuring_loader(target.data, images)
    try:
        network = target.network.to(arguments.device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"--device {arguments.device}: {one_line(error)}") from error
    shared = {key: keys[key] for key in ("sites", "clamp", "top_k", "method")}
    start = time.perf_counter()
    curve = ablation_curve(
        network,
        loader,
        orderings=keys["orderings"],
        points=keys["points"],
        generator=torch.Generator().manual_seed(keys["seed"]),
        verify=arguments.verify,
        progress=sys.stderr.isatty(),
        **shared,
    )
    seconds = {"curve": round(time.perf_counter() - start, 3)}
    logging.getLogger("single_directions").setLevel(logging.WARNING)  # the method was told by the curve
    start = time.perf_counter()
    precise = precise_auc(network, target.data, images, keys, curve)
    seconds["estimate"] = round(time.perf_counter() - start, 3)
    write_text(output / "curves.csv", curve.to_frame().to_csv(index=False))
    if arguments.importance:
        start = time.perf_counter()
        importance = unit_importance(network, loader, progress=sys.stderr.isatty(), **shared)
        seconds["importance"] = round(time.perf_counter() - start, 3)
        write_text(output / "importance.csv", _importances(curve, importance).to_csv(index=False))
    write_json(output / "measurement.json", _record({**vars(arguments), **keys}, target, curve, precise, seconds))
    title = f"{target.name}: {len(curve.accuracy)} orderings of {curve.units} units, {curve.images} images"
    figure = curve_figure(curve, keys["top_k"] / target.data.classes, title, arguments.split)
    png, _ = save(figure, output / "curve")
    print(
        f"accuracy {curve.accuracy[0, 0]:.4f}, AUC {precise.auc:.4f} ± {precise.auc_se:.4f}, "
        f"normalized AUC {precise.auc_normalized:.4f} ± {precise.auc_normalized_se:.4f} (standard errors); see {png}"
    )


def _importances(curve: AblationCurve, importance: torch.Tensor) -> pd.DataFrame:
    """One row per unit: site, unit within it, importance."""
    places = [(site.name, unit) for site in curve.sites for unit in range(site.units)]
    return pd.DataFrame(places, columns=["site", "unit"]).assign(importance=importance.numpy())


def _record(
    arguments: dict[str, Any],
    target: Target,
    curve: AblationCurve,
    estimate: AblationEstimate,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The result as JSON: `auc` and `auc_normalized` are those of the curve."""
    asked = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
    return {
        "asked": asked,
        "data": target.data.name,
        "label_hash": target.data.label_hash,
        "images": curve.images,
        "sites": {site.name: site.units for site in curve.sites},
        "units": curve.units,
        "accuracy": curve.accuracy[0, 0].item(),
        "auc": curve.auc.mean().item(),
        "auc_normalized": curve.auc_normalized.mean().item() if curve.accuracy[:, 0].all() else None,
        **areas(estimate),
        "method": curve.method,
        "why": curve.why,
        "seconds": seconds,
    }
