"""The units of recurrent layers: hidden states, clamped at each time step, so that the next step reads them clamped.

PyTorch computes all steps of an `nn.RNN` in one operation. To clamp within the recurrence it is computed step by step,
with the same weights.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

RECURRENT = {"rnn_relu": "relu", "rnn_tanh": "tanh", "rnn_relu_cell": "relu", "rnn_tanh_cell": "tanh"}
"""The activation function of each recurrent operation: those of `nn.RNN` and `nn.RNNCell`."""


def states(function: str, args: tuple[Any, ...]) -> list[list[str]]:
    """The hidden states of a recurrent operation, layer by layer, named as the suffixes of `nn.RNN`'s weights.

    ``[["l0", "l0_reverse"], ["l1", "l1_reverse"]]`` for two layers in both directions, ``[[""]]`` for a cell, ``[]``
    for packed sequences, which are not unrolled.
    """
    if function.endswith("_cell"):
        return [[""]]
    if not isinstance(args[2], list):
        return []
    layers, bidirectional = args[4], args[7]
    return [[f"l{layer}", *([f"l{layer}_reverse"] if bidirectional else [])] for layer in range(layers)]


def unrolled(function: str, args: tuple[Any, ...], change: Callable[[str, Tensor], Tensor]) -> Any:
    """What a recurrent operation gives, in eval mode, if `change` is applied to each hidden state at each step.

    Args:
        function, args: the operation and its arguments, as `nn.RNN` and `nn.RNNCell` call it.
        change: (name as in `states`, hidden state (images, units)) -> what the rest of the network sees of it.
    """
    activation = getattr(torch, RECURRENT[function])
    if function.endswith("_cell"):
        x, hidden, w_ih, w_hh, b_ih, b_hh = args
        return change("", activation(F.linear(x, w_ih, b_ih) + F.linear(hidden, w_hh, b_hh)))
    x, first, weights, biased, _, _, _, _, batch_first = args
    x = x.transpose(0, 1) if batch_first else x
    last: list[Tensor] = []
    for names in states(function, args):
        directions = []
        for name in names:
            size = 4 if biased else 2
            own = weights[len(last) * size : (len(last) + 1) * size]
            w_ih, w_hh, b_ih, b_hh = own if biased else (*own, None, None)
            inputs, hidden, steps = F.linear(x, w_ih, b_ih), first[len(last)], []
            backwards = name.endswith("_reverse")
            for step in inputs.flip(0) if backwards else inputs:
                hidden = change(name, activation(step + F.linear(hidden, w_hh, b_hh)))
                steps.append(hidden)
            directions.append(torch.stack(steps[::-1] if backwards else steps))
            last.append(hidden)
        x = torch.cat(directions, -1)
    return (x.transpose(0, 1) if batch_first else x), torch.stack(last)
