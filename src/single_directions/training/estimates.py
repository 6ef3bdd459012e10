"""Estimates sent between processes and kept in checkpoints."""

from dataclasses import fields
from typing import Any

import torch

from single_directions.ablation import AblationEstimate, Site


def estimate_of_all(own: AblationEstimate | None) -> AblationEstimate | None:
    """The estimate from the images of all processes, the same in each; None if a process has none."""
    parts: list[AblationEstimate | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    whole = [part for part in parts if part is not None]
    return AblationEstimate.joined(whole) if len(whole) == len(parts) else None


def estimate_state(estimate: AblationEstimate) -> dict[str, Any]:
    """An estimate as tensors, numbers and strings, which `torch.load` reads without running code."""
    state = {field.name: getattr(estimate, field.name) for field in fields(estimate)}
    return {**state, "sites": [tuple(vars(site).values()) for site in estimate.sites]}


def estimate_from_state(state: dict[str, Any]) -> AblationEstimate:
    """The estimate of a state that `estimate_state` made."""
    return AblationEstimate(**{**state, "sites": tuple(Site(*site) for site in state["sites"])})
