"""The code that the speed of recurrent networks is compared with."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recurrent.counts import GATES


class _Gate(nn.Module):
    """A gate of the main cell: three embeddings of h^, and what they scale and shift."""

    def __init__(self, inputs: int, units: int, hyper_units: int, embedding: int):
        super().__init__()
        self.of_x = nn.Linear(inputs, units, bias=False)
        self.of_h = nn.Linear(units, units, bias=False)
        self.z_h = nn.Linear(hyper_units, embedding)
        self.z_x = nn.Linear(hyper_units, embedding)
        self.z_b = nn.Linear(hyper_units, embedding, bias=False)
        self.d_h = nn.Linear(embedding, units, bias=False)
        self.d_x = nn.Linear(embedding, units, bias=False)
        self.b = nn.Linear(embedding, units)

    def forward(self, x: Tensor, h: Tensor, hyper_h: Tensor) -> Tensor:
        """The pre-activation (B, units)."""
        of_h = self.d_h(self.z_h(hyper_h)) * self.of_h(h)
        of_x = self.d_x(self.z_x(hyper_h)) * self.of_x(x)
        return of_h + of_x + self.b(self.z_b(hyper_h))


class StepwiseState(NamedTuple):
    """`h`, `c`: (B, units). `hyper_h`, `hyper_c`: (B, hyper units)."""

    h: Tensor
    c: Tensor
    hyper_h: Tensor
    hyper_c: Tensor


class StepwiseHyperLstm(nn.Module):
    """A network of one `HyperLstmCell` without layer norm, as public code writes it.

    Each gate has its own linear layers, also for its embeddings; the one-hot input is multiplied at
    each step, in a Python loop. Parameters, logits and gradients equal those of the suite's.
    """

    def __init__(
        self,
        symbols: int,
        units: int,
        hyper_units: int,
        embedding: int,
        forget_bias: float = 1.0,
    ):
        super().__init__()
        self.symbols, self.units, self.hyper_units = symbols, units, hyper_units
        self.forget_bias = forget_bias
        sizes = (symbols, units, hyper_units)
        self.gates = nn.ModuleList(_Gate(*sizes, embedding) for _ in range(GATES))
        inputs = symbols + units + hyper_units
        self.hyper_gates = nn.ModuleList(nn.Linear(inputs, hyper_units) for _ in range(GATES))
        self.readout = nn.Linear(units, symbols)

    def initial(self, batch: int) -> list[StepwiseState]:
        """Zeros."""
        main = self.readout.weight.new_zeros(batch, self.units)
        hyper = self.readout.weight.new_zeros(batch, self.hyper_units)
        return [StepwiseState(main, main, hyper, hyper)]

    def forward(
        self, symbols: Tensor, states: list[StepwiseState]
    ) -> tuple[Tensor, list[StepwiseState]]:
        """Logits (T, B, symbols) of symbols (T, B), and the last state."""
        (state,) = states
        logits = []
        for x in F.one_hot(symbols, self.symbols).to(self.readout.weight.dtype):
            state = self.step(x, state)
            logits.append(self.readout(state.h))
        return torch.stack(logits), [state]

    def step(self, x: Tensor, state: StepwiseState) -> StepwiseState:
        """The next state; `x`: (B, symbols)."""
        seen = torch.cat([x, state.h, state.hyper_h], 1)
        hyper_y = [gate(seen) for gate in self.hyper_gates]
        hyper_h, hyper_c = self._updated(hyper_y, state.hyper_c)
        y = [gate(x, state.h, hyper_h) for gate in self.gates]
        h, c = self._updated(y, state.c)
        return StepwiseState(h, c, hyper_h, hyper_c)

    def _updated(self, y: list[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
        i, g, f, o = y
        c = torch.sigmoid(f + self.forget_bias) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class TorchLstm(nn.Module):
    """The plain network with `torch.nn.LSTM`, one-hot input and a readout."""

    def __init__(self, symbols: int, units: int):
        super().__init__()
        self.symbols, self.units = symbols, units
        self.lstm = nn.LSTM(symbols, units)
        self.readout = nn.Linear(units, symbols)

    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        """Zeros."""
        zeros = self.readout.weight.new_zeros(1, batch, self.units)
        return zeros, zeros

    def forward(self, symbols: Tensor, states: tuple) -> tuple[Tensor, tuple]:
        """Logits (T, B, symbols) of symbols (T, B), and the last state."""
        outputs, states = self.lstm(F.one_hot(symbols, self.symbols).float(), states)
        return self.readout(outputs), states


class OrdinaryTextLoop:
    """The usual training loop on chunks of a text: fp32, eager, clipping, Adam, `.item()`."""

    def __init__(
        self,
        model: StepwiseHyperLstm | TorchLstm,
        symbols: Tensor,
        batch: int,
        length: int,
        clip: float,
        device: torch.device,
    ):
        steps = len(symbols) // batch
        self.streams = symbols[: steps * batch].view(batch, steps).T.to(device)
        self.length, self.clip = length, clip
        self.model = model.to(device).train()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        self.place = 0
        self.states: Any = self.model.initial(batch)

    def step(self) -> float:
        """Train on the next chunk, from the state of the last one; gives the loss."""
        if self.place + self.length >= len(self.streams):
            self.place, self.states = 0, self.model.initial(self.streams.shape[1])
        x = self.streams[self.place : self.place + self.length]
        y = self.streams[self.place + 1 : self.place + self.length + 1]
        self.place += self.length
        self.optimizer.zero_grad()
        logits, states = self.model(x, self.states)
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.states = _detached(states)
        return loss.item()


def _detached(states: Any) -> Any:
    if isinstance(states, Tensor):
        return states.detach()
    parts = [_detached(part) for part in states]
    return states._make(parts) if hasattr(states, "_make") else type(states)(parts)
