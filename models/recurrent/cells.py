"""The cells: an LSTM, and the HyperLSTM of Ha, Dai & Le (arXiv:1609.09106, sections 3.2, A.2.2).

A step takes its products with the input ready made: `project` makes those of all steps at once,
which leaves one product with h, and in the HyperLSTM one with h^, for each step. Gates stand in
the order i, g, f, o; B is the batch, N the units, M those of the hyper cell, Z its embedding.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.recurrent.counts import GATES

LAYER_NORM_EPS = 1e-5
INITIAL_SCALE = 0.1
"""What d is at the start, for every row (A.2.3)."""


class State(NamedTuple):
    """What a cell carries from step to step; the last three are empty in an LSTM.

    `h`, `c`: (B, N). `hyper_h`, `hyper_c`: (B, M). `hyper_gates`: (B, 4M), the product of the
    hyper cell's recurrent matrix with `hyper_h`, which is made together with the embeddings.
    """

    h: Tensor
    c: Tensor
    hyper_h: Tensor
    hyper_c: Tensor
    hyper_gates: Tensor


class GateNorm(nn.Module):
    """Layer norm of each gate by itself: (B, gates, N) over N."""

    def __init__(self, gates: int, units: int, biases: bool):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(gates, units))
        self.bias = nn.Parameter(torch.zeros(gates, units)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        """Of mean 0 and variance 1, times the gain, plus the bias."""
        normal = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS) * self.gain
        return normal if self.bias is None else normal + self.bias


def norm_of(gates: int, units: int, layer_norm: bool, biases: bool) -> nn.Module:
    """A `GateNorm`, or nothing."""
    return GateNorm(gates, units, biases) if layer_norm else nn.Identity()


def updated(
    y: Tensor, c: Tensor, cell_norm: nn.Module, forget_bias: float, mask: Tensor | float
) -> tuple[Tensor, Tensor]:
    """h and c of a step from the gates y (B, 4, N), normalised if they are.

    `mask` is recurrent dropout's, (B, N), on tanh(g) alone. The carried c is not normalised.
    """
    i, g, f, o = y.unbind(1)
    c = torch.sigmoid(f + forget_bias) * c + torch.sigmoid(i) * (torch.tanh(g) * mask)
    return torch.sigmoid(o) * torch.tanh(cell_norm(c.unsqueeze(1)).squeeze(1)), c


def orthogonal(units: int, inputs: int) -> Tensor:
    """(4 units, inputs): an orthogonal matrix for each gate."""
    blocks = [nn.init.orthogonal_(torch.empty(units, inputs)) for _ in range(GATES)]
    return torch.cat(blocks)


class LstmCell(nn.Module):
    """An LSTM: y = LN(W_h h + W_x x + b), each gate's by itself."""

    def __init__(
        self,
        inputs: int,
        units: int,
        layer_norm: bool = False,
        norm_biases: bool = True,
        forget_bias: float = 1.0,
    ):
        super().__init__()
        self.units, self.forget_bias = units, forget_bias
        self.input_weight = nn.Parameter(orthogonal(units, inputs))
        self.recurrent_weight = nn.Parameter(orthogonal(units, units))
        self.bias = nn.Parameter(torch.zeros(GATES * units))
        self.gate_norm = norm_of(GATES, units, layer_norm, norm_biases)
        self.cell_norm = norm_of(1, units, layer_norm, norm_biases)

    @property
    def projection(self) -> Tensor:
        """The matrix of everything that the input is multiplied with, (4N, X)."""
        return self.input_weight

    def initial(self, batch: int) -> State:
        """Zeros."""
        zeros = self.bias.new_zeros(batch, self.units)
        empty = self.bias.new_zeros(batch, 0)
        return State(zeros, zeros, empty, empty, empty)

    def step(self, state: State, projected: Tensor, mask: Tensor | float = 1.0) -> State:
        """The next state; `projected`: (B, 4N), of the input."""
        y = projected + state.h @ self.recurrent_weight.T + self.bias
        y = self.gate_norm(y.unflatten(1, (GATES, self.units)))
        h, c = updated(y, state.c, self.cell_norm, self.forget_bias, mask)
        return State(h, c, *state[2:])


class HyperLstmCell(nn.Module):
    """An LSTM whose rows a smaller LSTM scales anew at every step.

    The hyper cell sees [h; x] and gives h^. Of h^ come, for each gate, the embeddings z_h, z_x, z_b
    (Z numbers each), and of these d_h, d_x and b. Then y = LN(d_h * W_h h + d_x * W_x x + b):
    scaling a product's rows is scaling the matrix's, which is never formed. h^ is that of the same
    step, as in the authors' code; the paper prints the one before.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        hyper_units: int,
        embedding: int,
        layer_norm: bool = False,
        norm_biases: bool = True,
        forget_bias: float = 1.0,
    ):
        super().__init__()
        n, m, z = units, hyper_units, embedding
        self.units, self.hyper_units, self.embedding = n, m, z
        self.forget_bias = forget_bias
        self.input_weight = nn.Parameter(orthogonal(n, inputs))
        self.recurrent_weight = nn.Parameter(orthogonal(n, n))
        self.bias = nn.Parameter(torch.zeros(GATES, n))  # b_0
        self.hyper_input_weight = nn.Parameter(orthogonal(m, inputs))
        self.hyper_main_weight = nn.Parameter(orthogonal(m, n))  # on the main cell's h
        self.hyper_recurrent_weight = nn.Parameter(orthogonal(m, m))
        self.hyper_bias = nn.Parameter(torch.zeros(GATES * m))
        # z_h and z_x of all gates, then z_b: (8Z, M), (4Z, M).
        self.scale_weight = nn.Parameter(torch.zeros(2 * GATES * z, m))
        self.scale_bias = nn.Parameter(torch.ones(2 * GATES * z))
        self.shift_weight = nn.Parameter(torch.randn(GATES * z, m) * 0.01)
        # W_hz and W_xz of all gates, then W_bz: a matrix (Z, N) each.
        self.scales = nn.Parameter(torch.full((2 * GATES, z, n), INITIAL_SCALE / z))
        self.shifts = nn.Parameter(torch.zeros(GATES, z, n))
        self.gate_norm = norm_of(GATES, n, layer_norm, norm_biases)
        self.cell_norm = norm_of(1, n, layer_norm, norm_biases)
        self.hyper_gate_norm = norm_of(GATES, m, layer_norm, norm_biases)
        self.hyper_cell_norm = norm_of(1, m, layer_norm, norm_biases)

    @property
    def projection(self) -> Tensor:
        """The matrix of everything that the input is multiplied with, (4N + 4M, X)."""
        return torch.cat([self.input_weight, self.hyper_input_weight])

    def initial(self, batch: int) -> State:
        """Zeros."""
        zeros = self.bias.new_zeros
        n, m = self.units, self.hyper_units
        of_hyper = zeros(batch, m), zeros(batch, m), zeros(batch, GATES * m)
        return State(zeros(batch, n), zeros(batch, n), *of_hyper)

    def step(self, state: State, projected: Tensor, mask: Tensor | float = 1.0) -> State:
        """The next state; `projected`: (B, 4N + 4M), of the input."""
        n, m, z = self.units, self.hyper_units, self.embedding
        of_x, hyper_of_x = projected.split([GATES * n, GATES * m], 1)
        of_h, hyper_of_h = self._of_h(state.h)
        hyper_y = hyper_of_h + hyper_of_x + state.hyper_gates + self.hyper_bias
        hyper_y = self.hyper_gate_norm(hyper_y.unflatten(1, (GATES, m)))
        hyper_h, hyper_c = updated(
            hyper_y, state.hyper_c, self.hyper_cell_norm, self.forget_bias, 1.0
        )
        scaling, shifting, hyper_gates = self._of_hyper_h(hyper_h)
        d = _products(scaling.unflatten(1, (2 * GATES, z)), self.scales)
        shift = _products(shifting.unflatten(1, (GATES, z)), self.shifts)
        d_h, d_x = d.chunk(2, 1)
        of_h, of_x = of_h.unflatten(1, (GATES, n)), of_x.unflatten(1, (GATES, n))
        y = self.gate_norm(d_h * of_h + d_x * of_x + shift + self.bias)
        h, c = updated(y, state.c, self.cell_norm, self.forget_bias, mask)
        return State(h, c, hyper_h, hyper_c, hyper_gates)

    def _of_h(self, h: Tensor) -> tuple[Tensor, ...]:
        """The one product with h: (B, 4N) for the main cell, (B, 4M) for the hyper cell."""
        weight = torch.cat([self.recurrent_weight, self.hyper_main_weight])
        return (h @ weight.T).split([GATES * self.units, GATES * self.hyper_units], 1)

    def _of_hyper_h(self, hyper_h: Tensor) -> tuple[Tensor, ...]:
        """The one product with h^: z_h and z_x, z_b, and its own gates' part of the next step."""
        weight = torch.cat([self.scale_weight, self.shift_weight, self.hyper_recurrent_weight])
        sizes = [2 * GATES * self.embedding, GATES * self.embedding, GATES * self.hyper_units]
        scaling, shifting, hyper_gates = (hyper_h @ weight.T).split(sizes, 1)
        return scaling + self.scale_bias, shifting, hyper_gates


def _products(z: Tensor, weights: Tensor) -> Tensor:
    """(B, K, Z) times K matrices (K, Z, N): (B, K, N)."""
    return torch.einsum("bkz,kzn->bkn", z, weights)
