"""The command line of the benchmark."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from single_directions.benchmark.ablation import CASES, ablation
from single_directions.benchmark.callback import TRAININGS, callback
from single_directions.benchmark.clock import Record
from single_directions.benchmark.precision import designs, precision
from single_directions.benchmark.training import training
from single_directions.errors import BadInput

_SHOWN = [
    *("case", "method", "chosen", "seconds", "ratio_to_reference", "floor_seconds", "max_logit_difference"),
    *("ratio_to_bare_loop", "ratio_to_single_directions"),
    *("epoch_seconds", "callback_seconds", "callback_of_epoch", "images", "masks"),
    *("epoch", "design", "accuracy", "auc", "auc_se", "change_se", "time_at_same_error"),
]


def benchmark() -> None:
    """Print a table, and with `--json` write records."""
    parser = argparse.ArgumentParser(description="Times ablation methods, or ways to train, against each other.")
    parser.add_argument("what", choices=["ablation", "training", "callback"])
    cases = (
        f"of {', '.join(CASES)}; of callback mlp, convnet, resnet18, trained_mlp, orderings, and, only if named, "
        "trained_convnet and trained_resnet18, which take hours on a CPU"
    )
    parser.add_argument("--cases", nargs="+", metavar="CASE", help=cases)
    parser.add_argument("--repeats", type=int, default=3, help="medians are over this many calls")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: this machine has none that torch can use")
    if arguments.repeats < 1:
        sys.exit(f"--repeats {arguments.repeats}: at least 1 is needed")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    records: list[Record] = []
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    machine = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    try:
        for case in _cases(arguments):
            print(pd.DataFrame(case).filter(_SHOWN).to_string(index=False, float_format="{:.3g}".format), flush=True)
            records += [{"repeats": arguments.repeats, **record, **machine} for record in case]
    except BadInput as error:
        sys.exit(str(error))
    print(f"{device}, {machine['threads']} threads, torch {machine['torch']}, medians of {records[-1]['repeats']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1) + "\n")


def _cases(arguments: argparse.Namespace) -> Iterator[list[Record]]:
    """The records of each case, as soon as it is done.

    Of the callback, "trained_" gives standard errors after each epoch, "orderings" compares designs of an estimate.
    """
    repeats, device = arguments.repeats, arguments.device
    if arguments.what == "ablation":
        return ablation(arguments.cases or tuple(CASES), repeats, device)
    if arguments.what == "training":
        return training(repeats, device=device)
    ways: dict[str, Callable[[], Iterator[Record]]] = {
        **{name: partial(callback, name, repeats, device) for name in TRAININGS},
        "trained_mlp": partial(precision, "mlp", device),
        "trained_convnet": partial(precision, "convnet", device, epochs=6),
        "trained_resnet18": partial(precision, "resnet18", device, epochs=6),
        "orderings": partial(designs, device, repeats),
    }
    names = arguments.cases or [*TRAININGS, "trained_mlp", "orderings"]
    if unknown := [name for name in names if name not in ways]:
        raise BadInput(f"case {unknown[0]!r}: one of {', '.join(ways)}")
    return (list(ways[name]()) for name in names)
