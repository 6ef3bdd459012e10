"""Sites that take no effect: bypassed, dead, or the wrong ones. Found by one pass for all of them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from single_directions.ablation.sites import SitedNetwork

_IMAGES = 2
_SHOWN = 3


def warn_of_idle_sites(network: SitedNetwork, inputs: Tensor) -> None:
    """Warn, in one line, of the sites that change no logit of some images when all their units are clamped to zero.

    One pass forward and backward finds the sites whose activation can be scaled without a change, to first order.
    Only these are then clamped. So clamping a site that is named changes nothing.
    """
    suspects = _without_gradient(network, inputs[:_IMAGES])
    if not suspects:
        return
    plain = _cut(network, inputs, [])
    if torch.equal(_cut(network, inputs, suspects), plain):  # most often all are
        idle = suspects
    else:
        idle = [number for number in suspects if torch.equal(_cut(network, inputs, [number]), plain)]
    if idle:
        names = ", ".join(repr(network.sites[number].name) for number in idle[:_SHOWN])
        more = f" and {len(idle) - _SHOWN} more" if len(idle) > _SHOWN else ""
        plural, of_one = ("s", " of one") if len(idle) > 1 else ("", "")
        warnings.warn(
            f"site{plural} {names}{more}: clamping all units{of_one} to zero changes no output of {len(inputs)} "
            "images; it is bypassed, its units are dead, or it is the wrong site",
            stacklevel=3,
        )


def _without_gradient(network: SitedNetwork, inputs: Tensor) -> list[int]:
    """The sites whose activation can be scaled without a change; all sites if there is no gradient."""
    factors = [torch.ones((), device=inputs.device, requires_grad=True) for _ in network.sites]
    try:
        with torch.enable_grad():
            logits = network.run(inputs, lambda site, activation: activation * factors[site])
            weights = torch.linspace(1, 2, logits.numel(), device=logits.device).view_as(logits)
            slopes = torch.autograd.grad((logits * weights).sum(), factors, materialize_grads=True)
    except (RuntimeError, NotImplementedError):
        return list(range(len(factors)))
    return (torch.stack(slopes) == 0).nonzero().flatten().tolist()


def _cut(network: SitedNetwork, inputs: Tensor, sites: list[int]) -> Tensor:
    """The logits with all units of some sites clamped to zero."""
    return network.run(inputs, lambda site, activation: torch.zeros_like(activation) if site in sites else activation)
