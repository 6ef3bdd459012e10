"""Small members of common families with default sites, compared with forward passes under plain hooks."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
from exactness import images
from torch import Tensor, nn

from single_directions.ablation.measurement import measurement
from single_directions.ablation.sites import SitedNetwork, locate, undisturbed

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, timm.layers.GELU)

# name: (arguments, image size, modules of activation functions that are no sites, dimension of units by name)
FAMILIES: dict[str, tuple[dict[str, Any], int, str, dict[str, int]]] = {
    "lcnet_050": ({}, 32, r"\.se\.", {"": 1}),  # Hardswish, gates of squeeze-and-excitation
    "fastvit_t8": ({"layers": (1, 1, 1, 1)}, 64, r"\.se\.", {"": 1}),
    "repvit_m0_9": ({}, 32, r"\.se\.|\.gate", {"": 1}),
    "convnext_atto": ({"depths": (1, 1, 1, 1), "conv_mlp": False}, 32, "never", {"": 3}),  # channels last
    "vit_tiny_patch16_224": ({"img_size": 32, "patch_size": 8, "depth": 2}, 32, "never", {"": 2}),
    "swinv2_tiny_window8_256": ({"img_size": 64, "window_size": 4, "depths": (1, 1, 1, 1)}, 64, "cpb_mlp", {"": 2}),
    "mixer_s32_224": ({"img_size": 64}, 64, "never", {"": 2}),
    "gmlp_ti16_224": ({"img_size": 64}, 64, "never", {"": 2}),
    "mobilevit_xxs": ({}, 64, "transformer", {"": 1}),  # untraceable; rows of its transformers are parts of images
    "xcit_nano_12_p16_224": ({"depth": 2}, 64, "never", {r"\.mlp\.": 2, "": 1}),
    "convit_tiny": ({"img_size": 32, "patch_size": 8, "depth": 2, "local_up_to_layer": 1}, 32, "never", {"": 2}),
    "edgenext_xx_small": ({"depths": (1, 1, 1, 1)}, 64, "never", {"": 3}),
    "efficientvit_b0": ({}, 32, "kernel_func", {"": 1}),  # untraceable; ReLUs on heads, whose units cannot be told
}


def made(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False, num_classes=10, **FAMILIES[name][0]).double()
        for parameter in network.parameters():
            if parameter.abs().max() < 1e-3:  # what starts near zero would hide a branch
                nn.init.normal_(parameter, std=0.5)
    return network


@contextmanager
def masked(network: nn.Module, places: dict[str, int], masks: dict[str, Tensor]) -> Iterator[None]:
    """Within it, units (dimension by module) are zero where a mask (units,) or (images, units) says so."""

    def zero(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            last = output.clone().movedim(places[name], -1)
            mask = masks[name] if masks[name].dim() == 2 else masks[name][None]
            rows = mask.view(len(mask), *[1] * (last.dim() - 2), -1)
            return (last * ~rows).movedim(-1, places[name])

        return hook

    handles = [network.get_submodule(name).register_forward_hook(zero(name)) for name in places]
    yield
    for handle in handles:
        handle.remove()


def called(network: nn.Module, inputs: Tensor) -> list[str]:
    """The activation modules that run, in their order."""
    names: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: names.append(name))
        for name, module in network.named_modules()
        if isinstance(module, ACTIVATIONS)
    ]
    network(inputs)
    for handle in handles:
        handle.remove()
    return names


def module_of(site: str, network: nn.Module) -> str:
    modules = dict(network.named_modules())
    return site if site in modules else site.rpartition(".")[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_default_sites_equal_hooks_that_overwrite(name: str) -> None:
    _, size, no_sites, dims = FAMILIES[name]
    network, inputs = made(name), images(3, 3, size, size)
    with undisturbed(network):
        expected = [site for site in called(network, inputs) if not re.search(no_sites, site)]
        sited = locate(network, None, inputs)
        assert [module_of(site.name, network) for site in sited.sites] == expected
        places = {site: next(dim for part, dim in dims.items() if re.search(part, site)) for site in expected}
        assert [site.dim for site in sited.sites] == list(places.values())
        plain, values = network(inputs), torch.zeros(sited.units).double()
        for mask in drawn_masks(sited):
            with masked(network, places, dict(zip(expected, sited.split(mask), strict=True))):
                by_hooks = network(inputs)
            assert not torch.allclose(by_hooks, plain, rtol=1e-3)
            torch.testing.assert_close(sited.clamped(inputs, mask, values), by_hooks, rtol=1e-9, atol=1e-9)


def drawn_masks(sited: SitedNetwork) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(*shape, sited.units, generator=generator) < 0.3 for shape in ((), (3,))]


@pytest.mark.parametrize("name", ["convnext_atto", "xcit_nano_12_p16_224", "swinv2_tiny_window8_256", "mobilevit_xxs"])
def test_the_methods_equal_hooks_that_overwrite(name: str) -> None:
    """Also where batches hold one image, so that a fixed value with one row is not taken for one row an image."""
    _, size, _, dims = FAMILIES[name]
    network, inputs = made(name), images(1, 3, size, size)
    for method in ("auto", "prefix") if name != "mobilevit_xxs" else ("auto",):
        with measurement(network, [(inputs, torch.tensor([3]))], None, "zero", 1, method, 2**28) as measured:
            sited = measured.network
            names = [module_of(site.name, network) for site in sited.sites]
            places = {site: next(dim for part, dim in dims.items() if re.search(part, site)) for site in names}
            ordering = torch.randperm(sited.units, generator=torch.Generator().manual_seed(0))
            points = [0, sited.units // 5, sited.units // 2, sited.units]
            measured.method.start(inputs)
            logits = {point: answer.clone() for point, answer in measured.method.cumulative(ordering, points)}
            for point, count in enumerate(points):
                mask = ordering.argsort() < count
                with masked(network, places, dict(zip(names, sited.split(mask), strict=True))):
                    torch.testing.assert_close(logits[point], network(inputs), rtol=1e-8, atol=1e-8)
