"""Finds the default sites of the architectures of torchvision and timm, and writes the table of docs/architectures.md.

Run it with the table as it shall be: ``python scripts/architectures.py``. Networks have random weights and 10 classes.
"""

import argparse
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from single_directions.ablation.measurement import measurement
from single_directions.ablation.sites import SitedNetwork, undisturbed
from single_directions.errors import BadInput

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
HEADING = "## Families tried\n\n"
"""What stands before the table; all above it stays as it is."""

# Architectures by library, with the size of the images; the smallest member of each family.
TORCHVISION = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "efficientnet_v2_s": 32,
    "googlenet": 64,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "resnet50": 32,
    "resnext50_32x4d": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_0": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11_bn": 32,
    "vit_b_32": 224,
    "wide_resnet50_2": 32,
}
TIMM = {
    "beit_base_patch16_224": 224,
    "cait_xxs24_224": 224,
    "coatnet_nano_rw_224": 224,
    "convit_tiny": 224,
    "convmixer_768_32": 32,
    "convnext_atto": 32,
    "convnextv2_atto": 32,
    "crossvit_tiny_240": 240,
    "cspresnet50": 64,
    "davit_tiny": 64,
    "deit_tiny_patch16_224": 224,
    "dla34": 64,
    "dpn48b": 64,
    "edgenext_xx_small": 64,
    "efficientformer_l1": 224,
    "efficientvit_b0": 64,
    "efficientvit_m0": 224,
    "eva02_tiny_patch14_224": 224,
    "fasternet_t0": 64,
    "fastvit_t8": 64,
    "focalnet_tiny_srf": 64,
    "gcresnet33ts": 64,
    "ghostnet_100": 64,
    "gmlp_ti16_224": 224,
    "hardcorenas_a": 64,
    "hgnet_tiny": 64,
    "hrnet_w18_small": 64,
    "inception_resnet_v2": 96,
    "lcnet_050": 64,
    "levit_128s": 224,
    "maxvit_pico_rw_256": 256,
    "maxvit_rmlp_pico_rw_256": 256,
    "mixer_s32_224": 224,
    "mobilenetv4_conv_small": 64,
    "mobileone_s0": 64,
    "mobilevit_xxs": 64,
    "nest_tiny": 224,
    "nfnet_l0": 64,
    "pit_ti_224": 224,
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "regnety_002": 64,
    "repvit_m0_9": 64,
    "res2net50_26w_4s": 64,
    "resmlp_12_224": 224,
    "resnest14d": 64,
    "rexnet_100": 64,
    "sequencer2d_s": 224,
    "skresnet18": 64,
    "swin_tiny_patch4_window7_224": 224,
    "swinv2_tiny_window8_256": 256,
    "tinynet_e": 64,
    "tiny_vit_5m_224": 224,
    "tnt_s_patch16_224": 224,
    "tresnet_m": 64,
    "twins_pcpvt_small": 224,
    "vit_tiny_patch16_224": 224,
    "volo_d1_224": 224,
    "xception41": 64,
    "xcit_nano_12_p16_224": 224,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these, to the terminal")
    parser.add_argument("--out", type=Path, default=PAGE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tried = [(f"torchvision {name}", size, torchvision.models.get_model) for name, size in TORCHVISION.items()]
    tried += [(f"timm {name}", size, timm.create_model) for name, size in TIMM.items()]
    chosen = [one for one in tried if not asked.names or one[0].split()[1] in asked.names]
    rows = []
    for name, size, make in chosen:
        try:
            rows.append(row(name, size, make))
        except BadInput as error:
            rows.append(f"| {name.replace(' ', ' | ')} | refused: {error} |" + " |" * 7)
        print(rows[-1], flush=True)
    if not asked.names:
        rule, _, _ = PAGE.read_text().partition(HEADING)
        asked.out.write_text(rule + HEADING + table(rows) + end(len(rows)))


def row(name: str, size: int, make: Callable[..., nn.Module]) -> str:
    """What is found in one network, and whether its masked forward passes equal those by hooks."""
    torch.manual_seed(0)
    library, short = name.split()
    options: dict[str, Any] = {"weights": None} if library == "torchvision" else {"pretrained": False}
    if short in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "aux_logits": False}
    network = make(short, num_classes=10, **options)
    for parameter in network.parameters():
        if parameter.abs().max() < 1e-3:  # what starts near zero would hide a branch
            nn.init.normal_(parameter, std=0.1)
    batch = torch.randn(2, 3, size, size), torch.tensor([0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with measurement(network, [batch], None, "zero", 1, "auto", 2**28) as measured:
            sited, method = measured.network, measured.method.name
            difference = by_overwriting(sited, batch[0])
    sites = sited.sites
    dims = ", ".join(f"{dim} ({count})" for dim, count in sorted(Counter(site.dim for site in sites).items()))
    first = f"`{sites[0].name}` ({sites[0].units})"
    last = f"`{sites[-1].name}` ({sites[-1].units})"
    traced = "no" if sited.graph is None else "yes"
    return (
        f"| {library} | {short} | {len(sites)} | {sum(site.units for site in sites):,} | {dims} | {first} | {last} | "
        f"{method} | {traced} | {difference} |"
    )


def by_overwriting(sited: SitedNetwork, inputs: Tensor) -> str:
    """The largest difference to the network with its activations overwritten from outside, by the largest logit.

    A forward hook overwrites what a module returns. A mode that sees function calls overwrites the results of those
    that the network's own `forward` makes. "-" where a site is neither.
    """
    modules = dict(sited.network.named_modules())
    mask = torch.rand(sited.units, generator=torch.Generator().manual_seed(0)) < 0.3
    places = [place(site.name, modules) for site in sited.sites]
    parts = {at: (site.dim, part) for at, site, part in zip(places, sited.sites, sited.split(mask), strict=True)}
    if len(parts) < len(sited.sites):
        return "-"
    calls: Counter[str] = Counter()
    inside: list[nn.Module] = []

    def overwritten(name: str, output: Any) -> Any:
        dim, part = parts.get((name, calls[name]), (1, None))
        calls[name] += 1
        return output if part is None else (output.movedim(dim, -1) * ~part).movedim(-1, dim)

    class OwnFunctions(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            output = function(*args, **(kwargs or {}))
            name = getattr(function, "__name__", "")
            return output if inside or not isinstance(output, Tensor) else overwritten(name, output)

    def leave(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, _: object, output: Any) -> Any:
            inside.pop()
            return overwritten(name, output) if isinstance(output, Tensor) else output

        return hook

    with undisturbed(sited.network):
        handles = [
            handle
            for name, module in modules.items()
            if name
            for handle in (
                module.register_forward_pre_hook(lambda module, _: inside.append(module)),
                module.register_forward_hook(leave(name)),
            )
        ]
        with OwnFunctions():
            expected = sited.network(inputs)
        for handle in handles:
            handle.remove()
        if any(calls[name] <= call for name, call in places):
            return "-"
        found = sited.clamped(inputs, mask, torch.zeros(sited.units))
    return f"{float((found - expected).abs().max() / expected.abs().max()):.0e}"


def place(site: str, modules: dict[str, nn.Module]) -> tuple[str, int]:
    """The module that a site is the result of, or the function, and which of its calls."""
    for name in (site, site.rpartition(".")[0]):
        stem, _, call = name.rpartition("_")
        if name in modules and name:
            return name, 0
        if stem in modules and call.isdigit():
            return stem, int(call)
    return site, 0


def table(rows: list[str]) -> str:
    titles = ("library", "network", "sites", "units", "dimension (sites)", "first site (units)", "last site (units)")
    head = (
        f"| {' | '.join((*titles, '`auto`', 'traced', 'difference'))} |\n|---|---|---:|---:|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def end(networks: int) -> str:
    used = ", ".join(
        f"{package.__name__} {package.__version__.split('+')[0]}" for package in (torch, torchvision, timm)
    )
    return (
        f"\n*`python scripts/architectures.py`: {networks} networks with random weights, 2 images, float32, {used}. "
        "`difference`: between the logits with 30 % of all units clamped and those of the same network with its "
        'activations overwritten from outside, as a part of the largest logit; "-" where that cannot reach each site '
        "alone.*\n"
    )


if __name__ == "__main__":
    main()
