"""A character model: one-hot symbols, layers of cells, and a readout of logits."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recurrent.cells import HyperLstmCell, LstmCell, State
from models.recurrent.counts import Shape


def _cell(shape: Shape, inputs: int, forget_bias: float) -> LstmCell | HyperLstmCell:
    norms = (shape.layer_norm, shape.norm_biases, forget_bias)
    if not shape.hyper_units:
        return LstmCell(inputs, shape.units, *norms)
    return HyperLstmCell(inputs, shape.units, shape.hyper_units, shape.embedding, *norms)


class RecurrentNetwork(nn.Module):
    """The network of a `Shape`.

    `keep`: how much dropout leaves of the input, of the output of each layer, and of tanh(g).
    `forget_bias`: added to the forget gate, after the layer norm, in both cells.
    """

    def __init__(self, shape: Shape, keep: float = 1.0, forget_bias: float = 1.0):
        super().__init__()
        self.shape, self.keep = shape, keep
        inputs = [shape.symbols] + [shape.units] * (shape.layers - 1)
        self.cells = nn.ModuleList(_cell(shape, size, forget_bias) for size in inputs)
        self.readout = nn.Linear(shape.units, shape.symbols)

    def layers(self) -> list[LstmCell | HyperLstmCell]:
        """The cells, from the input on."""
        return cast("list[LstmCell | HyperLstmCell]", list(self.cells))

    def initial(self, batch: int) -> list[State]:
        """A state for each layer."""
        return [cell.initial(batch) for cell in self.layers()]

    def forward(self, symbols: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """Logits (T, B, symbols) of what follows each of `symbols` (T, B), and the last states.

        The states are carried from one chunk of a text to the next.
        """
        steps, batch = symbols.shape
        # Dropout of a one-hot input leaves its one or takes it.
        kept = self._mask(steps, batch, 1)
        ends = []
        outputs = symbols
        for number, (cell, state) in enumerate(zip(self.layers(), states, strict=True)):
            if number == 0:
                projected = F.embedding(symbols, cell.projection.T) * kept
            else:
                projected = outputs @ cell.projection.T
            masks = self._mask(steps, batch, self.shape.units)
            made = []
            for step in range(steps):
                state = cell.step(state, projected[step], masks[step])
                made.append(state.h)
            ends.append(state)
            outputs = torch.stack(made) * self._mask(steps, batch, self.shape.units)
        return self.readout(outputs), ends

    def _mask(self, *size: int) -> Tensor:
        """Zeros and 1 / keep where dropout is on; ones elsewhere."""
        weight = self.readout.weight
        if not self.training or self.keep == 1.0:
            return weight.new_ones(1).expand(*size)
        return weight.new_empty(size).bernoulli_(self.keep) / self.keep
