"""The precision in which `AblationAUC` runs a network."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from single_directions.ablation.sites import undisturbed

Context = Callable[[], AbstractContextManager[Any]]


def context_for(plugin: Any, network: nn.Module, inputs: Tensor) -> Context:
    """What to run the network in, by the trainer's precision plugin and some inputs (images, ...).

    Under a "true" precision this is what Lightning runs it in: tensors that `forward` makes are of the precision's
    dtype. Under mixed precision there is no autocast, unless the network cannot do without.
    """
    if str(plugin.precision).endswith("true"):
        return plugin.forward_context
    casts = not _takes(network, inputs, nullcontext) and _takes(network, inputs, plugin.forward_context)
    return plugin.forward_context if casts else nullcontext


def _takes(network: nn.Module, inputs: Tensor, context: Context) -> bool:
    device = next((parameter.device for parameter in network.parameters()), inputs.device)
    with undisturbed(network), context():
        try:
            network(inputs.to(device).clone())  # it may change them in place
        except Exception:  # somebody's own forward(); the measurement will tell what is wrong
            return False
    return True
