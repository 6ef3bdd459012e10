"""Ways to run a network with something done at its sites: node by node, or as it is."""

import inspect
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from single_directions.ablation.activations import ACTIVATIONS, SIGMOIDS
from single_directions.ablation.forward import OTHER_NAMES, Call, Watch
from single_directions.ablation.recurrent import unrolled
from single_directions.ablation.trace import is_leaf, out_of_place
from single_directions.ablation.unchanged import version_of
from single_directions.errors import BadInput

AtSite = Callable[[int, Tensor], Tensor]
"""What is done at a site: (number of the site, its activation) -> what the rest of the network sees."""

Key = tuple[str, str | None]
"""The module and the function of a `Call`."""

_SPELLINGS = {name + end for name in ACTIVATIONS | SIGMOIDS | OTHER_NAMES.keys() for end in ("", "_")}
"""Names under which activation functions are called."""

ATTENTION = "multi_head_attention_forward"
"""A call of this function is a site before its projection, where its heads are apart: (images, tokens, channels)."""


class Runner(Protocol):
    """A way to run the network with something done at its sites."""

    def __call__(self, inputs: Tensor, at_site: AtSite) -> Tensor: ...

    def on(self, network: nn.Module) -> "Runner":
        """The same for a copy of the network."""


class Traced(fx.Interpreter):
    """Runs the traced graph, node by node."""

    def __init__(self, network: nn.Module, graph: fx.Graph, nodes: Sequence[fx.Node]) -> None:
        super().__init__(network, graph=graph)
        self.nodes = nodes
        self.numbers = {node: number for number, node in enumerate(nodes)}

    def __call__(self, inputs: Tensor, at_site: AtSite) -> Tensor:
        self.at_site = at_site
        with out_of_place(self.module):
            return self.run(inputs)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        return self.at_site(self.numbers[n], value) if n in self.numbers else value

    def on(self, network: nn.Module) -> "Traced":
        return Traced(network, self.graph, self.nodes)


class AsItIs:
    """Runs the network itself and recognises the calls that are sites: for what cannot be traced."""

    def __init__(self, network: nn.Module, calls: Sequence[Call], recorded: Counter[Key] | None) -> None:
        """`recorded` is how often the first images called what, if all activation functions are to be sites."""
        self.network, self.calls, self.recorded = network, calls, recorded
        self.numbers = {call: number for number, call in enumerate(calls)}
        self.states: dict[tuple[str, str | None], dict[str, int]] = {}  # sites within recurrent layers
        for call, number in self.numbers.items():
            if call.state is not None:
                self.states.setdefault((call.module, call.function), {})[call.state] = number
        self.functions = frozenset(call.function for call in calls if call.function is not None)
        if recorded is not None:
            self.functions |= _SPELLINGS
        # Activations spelled as products and the like are not counted: most products are something else.
        spelled = {None, *_SPELLINGS}
        self.counted = {(one.module, one.function) for one in calls if one.state is None and one.function in spelled}
        self.told = False

    def __call__(self, inputs: Tensor, at_site: AtSite) -> Tensor:
        answer, further = self._watched(inputs, at_site)
        if further and not self.told:
            self.told = True
            warnings.warn(
                f"network: for some images, or with units clamped, {further}; put the images first for which it calls "
                "most. With sites=[...] such calls are not looked for",
                stacklevel=2,
            )
        return answer

    def plain(self, inputs: Tensor) -> Tensor:
        """The network's answer with nothing clamped. Raises `BadInput` for calls that would not be clamped."""
        self.network(inputs.clone())  # what the network computes once for a shape, and keeps, is computed now
        answer, further = self._watched(inputs, lambda site, activation: activation)
        if further:
            raise BadInput(f"{further}; put the longest batch first, or pad all to one length")
        return answer

    def _watched(self, inputs: Tensor, at_site: AtSite) -> tuple[Tensor, str]:
        """The answer, and a clause on the calls that are like sites but were not made for the first images, or ""."""

        def after(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
            if states := self.states.get((call.module, call.function)):
                return unrolled(
                    str(call.function),
                    args,
                    lambda state, hidden: at_site(states[state], hidden) if state in states else hidden,
                )
            number = self.numbers.get(call)
            if number is None:
                return result
            if call.function == ATTENTION:
                return _with_heads(lambda heads: at_site(number, heads), args, kwargs, result)
            return at_site(number, result)

        version = version_of(inputs)
        watch = Watch(self.network, after, self.functions)
        answer: Tensor = watch(inputs)
        if version_of(inputs) != version:  # of the first images it changed none
            raise BadInput("network: it changes some of its inputs in place; let its forward() change a copy of them")
        further = dict.fromkeys(self._name(key) for key, times in watch.times.items() if times > self._most(key))
        clause = (
            f"it calls {', '.join(further)} more often than for the first images, and further calls are not clamped"
        )
        return answer, clause if further else ""

    def _most(self, key: Key) -> float:
        """How often something may be called, if each of its calls is to be clamped or was seen to be no site."""
        if self.recorded is None or not (key in self.counted or (key[1] in _SPELLINGS and key not in self.recorded)):
            return math.inf
        return self.recorded[key]

    def _name(self, key: Key) -> str:
        module, function = key
        alone = function is None or is_leaf(self.network.get_submodule(module))
        return module if alone else ".".join(filter(None, key))

    def on(self, network: nn.Module) -> "AsItIs":
        return AsItIs(network, self.calls, self.recorded)


def _with_heads(change: Callable[[Tensor], Tensor], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    """What `multi_head_attention_forward` answers where its heads are changed before they are projected."""
    asked = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs)
    weight, bias = asked.arguments["out_proj_weight"], asked.arguments["out_proj_bias"]
    asked.arguments["out_proj_weight"] = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    asked.arguments["out_proj_bias"] = None
    heads, *_ = F.multi_head_attention_forward(*asked.args, **asked.kwargs)  # (tokens, images, channels)
    changed = change(heads.transpose(0, 1)).transpose(0, 1)
    return F.linear(changed, weight, bias), *result[1:]
