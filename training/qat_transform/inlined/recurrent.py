"""GRU, LSTM and RNN, step by step over the frames of an example.

All steps share their weights, and each has grids of its own, as its numbers have a range of its
own. What is said of the gates is torch's own order and form, so that weights fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    State = tuple[Tensor, ...]
    Step = Callable[[nn.RNNBase, str, Tensor, State], State]


def run_gru(module: nn.GRU, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What nn.GRU computes: all states of the last layer, and the last of each."""
    out, (last,) = _run(module, x, None if hx is None else (hx,), _gru_step, 1)
    return out, last


def run_rnn(module: nn.RNN, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What nn.RNN computes: all states of the last layer, and the last of each."""
    out, (last,) = _run(module, x, None if hx is None else (hx,), _rnn_step, 1)
    return out, last


def run_lstm(
    module: nn.LSTM, x: Tensor, hx: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What nn.LSTM computes: all states of the last layer, and the last state and cell of each."""
    if module.proj_size:
        raise UsageError(
            "an LSTM with proj_size cannot be quantised",
            hint="leave proj_size out, and put a Linear behind the LSTM",
        )
    out, (last, cell) = _run(module, x, hx, _lstm_step, 2)
    return out, (last, cell)


def _run(
    module: nn.RNNBase, x: Tensor, given: State | None, step: Step, parts: int
) -> tuple[Tensor, State]:
    """Layer by layer, direction by direction."""
    if x.ndim != 3:
        raise UsageError(
            f"{type(module).__name__} reads a tensor of {x.ndim} axes",
            hint="give it (batch, frames, features), and an example to edgeq.quantize",
        )
    frames = x if module.batch_first else x.transpose(0, 1)
    directions = 2 if module.bidirectional else 1
    ends: list[State] = []
    for layer in range(module.num_layers):
        outs = []
        for way in range(directions):
            start = None
            if given is not None:
                start = tuple(each[layer * directions + way] for each in given)
            suffix = f"_l{layer}" + "_reverse" * way
            states = _scan(module, suffix, frames, start, step, backwards=bool(way))
            ends.append(states[0 if way else -1])
            outs.append(torch.stack([state[0] for state in states], 1))
        frames = outs[0] if directions == 1 else torch.cat(outs, 2)
        if module.dropout and layer < module.num_layers - 1:
            frames = F.dropout(frames, module.dropout, module.training)
    last = tuple(torch.stack([end[part] for end in ends], 0) for part in range(parts))
    return (frames if module.batch_first else frames.transpose(0, 1)), last


def _scan(
    module: nn.RNNBase,
    suffix: str,
    frames: Tensor,
    start: State | None,
    step: Step,
    *,
    backwards: bool,
) -> list[State]:
    """The states behind all frames, in the order of the frames."""
    inputs = F.linear(frames, *_parameters(module, "ih", suffix))
    state, states = start, []
    order = range(frames.shape[1])
    for at in reversed(order) if backwards else order:
        state = step(module, suffix, inputs[:, at], state or ())
        states.append(state)
    return states[::-1] if backwards else states


def _parameters(module: Any, kind: str, suffix: str) -> tuple[Tensor, Tensor | None]:
    bias = getattr(module, f"bias_{kind}{suffix}") if module.bias else None
    return getattr(module, f"weight_{kind}{suffix}"), bias


def _recurrent(module: nn.RNNBase, suffix: str, state: State, gates: int) -> list[Any]:
    """What the state before adds to each gate; without one, the bias, or zero without that."""
    weight, bias = _parameters(module, "hh", suffix)
    if state:
        return list(F.linear(state[0], weight, bias).chunk(gates, 1))
    return [0.0] * gates if bias is None else list(bias.reshape(1, -1).chunk(gates, 1))


def _gru_step(module: nn.RNNBase, suffix: str, inputs: Tensor, state: State) -> State:
    from_input = inputs.chunk(3, 1)
    from_state = _recurrent(module, suffix, state, 3)
    reset, keep = (
        torch.sigmoid(one + other)
        for one, other in zip(from_input[:2], from_state[:2], strict=True)
    )
    new = torch.tanh(from_input[2] + reset * from_state[2])
    # new + keep * (state - new), in one product more where there is a state
    if not state:
        return (new - keep * new,)
    return (new + keep * (state[0] - new),)


def _rnn_step(module: nn.RNNBase, suffix: str, inputs: Tensor, state: State) -> State:
    total = inputs + _recurrent(module, suffix, state, 1)[0]
    activation = torch.relu if getattr(module, "nonlinearity", "tanh") == "relu" else torch.tanh
    return (activation(total),)


def _lstm_step(module: nn.RNNBase, suffix: str, inputs: Tensor, state: State) -> State:
    from_state = _recurrent(module, suffix, state, 4)
    gates = [one + other for one, other in zip(inputs.chunk(4, 1), from_state, strict=True)]
    written, kept, shown = (torch.sigmoid(gates[at]) for at in (0, 1, 3))
    cell = written * torch.tanh(gates[2])
    if state:
        cell = kept * state[1] + cell
    return shown * torch.tanh(cell), cell
