"""The cells: an LSTM, and the HyperLSTM of Ha, Dai & Le (arXiv:1609.09106, sections 3.2, A.2.2).

A step takes its products with the input ready made (`models.recurrent.protocol`). Gates stand in
the order i, g, f, o; B is the batch, N the units, M those of the hyper cell, Z its embedding.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recurrent.counts import GATES
from models.recurrent.protocol import Product, product

LAYER_NORM_EPS = 1e-5
INITIAL_SCALE = 0.1
"""What d is at the start, for every row (A.2.3)."""


class LstmState(NamedTuple):
    """What an LSTM carries from step to step, (B, N)."""

    h: Tensor
    c: Tensor


class HyperLstmState(NamedTuple):
    """What a HyperLSTM carries.

    `h`, `c`: (B, N). `hyper_h` (h^), `hyper_c`: (B, M). `hyper_gates`: (B, 4M), the product of
    the hyper cell's recurrent matrix with h^, which is made together with the embeddings.
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
        normal = F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS) * self.gain
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
    """An LSTM: y = LN(W_h h + W_x x + b), each gate's by itself.

    `components`: where a parameter or module of that name counts, if it is not `recurrent`.
    """

    components: ClassVar[dict[str, str]] = {"gate_norm": "layer_norms", "cell_norm": "layer_norms"}

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
        self.bias = nn.Parameter(torch.zeros(GATES, units))
        self.gate_norm = norm_of(GATES, units, layer_norm, norm_biases)
        self.cell_norm = norm_of(1, units, layer_norm, norm_biases)

    @property
    def projection(self) -> Tensor:
        """The matrix of everything that the input is multiplied with, (4N, X)."""
        return self.input_weight

    def initial(self, batch: int) -> LstmState:
        """Zeros."""
        sizes = (self.units, self.units)
        return LstmState(*(self.bias.new_zeros(batch, size) for size in sizes))

    def matrices(self) -> list[Tensor]:
        """What a step multiplies with h, (4N, N)."""
        return [self.recurrent_weight]

    @staticmethod
    def operands(before: LstmState, after: LstmState) -> list[Tensor]:
        """What a step multiplied each of `matrices` with."""
        return [before.h]

    def step(
        self,
        state: LstmState,
        projected: Tensor,
        mask: Tensor | float = 1.0,
        products: list[Product] | None = None,
    ) -> LstmState:
        """The next state; `projected`: (B, 4N), of the input."""
        (on_h,) = products or [Product(matrix) for matrix in self.matrices()]
        of_h = product(on_h, state.h)
        y = self.gate_norm((of_h + projected).unflatten(1, (GATES, self.units)) + self.bias)
        return LstmState(*updated(y, state.c, self.cell_norm, self.forget_bias, mask))


class HyperLstmCell(nn.Module):
    """An LSTM whose rows a smaller LSTM scales anew at every step.

    The hyper cell sees [h; x] and gives h^. Of h^ come, for each gate, the embeddings z_h, z_x, z_b
    (Z numbers each), and of these d_h, d_x and b. Then y = LN(d_h * W_h h + d_x * W_x x + b):
    scaling a product's rows is scaling the matrix's, which is never formed. h^ is that of the same
    step, as in the authors' code; the paper prints the one before.

    `components`: where a parameter or module of that name counts, if it is not `recurrent`.
    """

    components: ClassVar[dict[str, str]] = {
        "hyper_input_weight": "generator",
        "hyper_main_weight": "generator",
        "hyper_recurrent_weight": "generator",
        "hyper_bias": "generator",
        "embedding_weight": "generator",
        "embedding_bias": "generator",
        "scales": "generator",
        "gate_norm": "layer_norms",
        "cell_norm": "layer_norms",
        "hyper_gate_norm": "layer_norms",
        "hyper_cell_norm": "layer_norms",
    }

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
        self.hyper_bias = nn.Parameter(torch.zeros(GATES, m))
        # Of all gates z_h, then z_x, then z_b, which has no bias; W_hz, W_xz, W_bz likewise.
        self.embedding_weight = nn.Parameter(torch.zeros(3 * GATES * z, m))
        self.embedding_bias = nn.Parameter(torch.ones(2 * GATES * z))
        self.scales = nn.Parameter(torch.full((3 * GATES, z, n), INITIAL_SCALE / z))
        with torch.no_grad():
            self.embedding_weight[2 * GATES * z :].normal_(std=0.01)
            self.scales[2 * GATES :] = 0
        self.gate_norm = norm_of(GATES, n, layer_norm, norm_biases)
        self.cell_norm = norm_of(1, n, layer_norm, norm_biases)
        self.hyper_gate_norm = norm_of(GATES, m, layer_norm, norm_biases)
        self.hyper_cell_norm = norm_of(1, m, layer_norm, norm_biases)

    @property
    def projection(self) -> Tensor:
        """The matrix of everything that the input is multiplied with, (4N + 4M, X)."""
        return torch.cat([self.input_weight, self.hyper_input_weight])

    def initial(self, batch: int) -> HyperLstmState:
        """Zeros."""
        n, m = self.units, self.hyper_units
        sizes = (n, n, m, m, GATES * m)
        return HyperLstmState(*(self.bias.new_zeros(batch, size) for size in sizes))

    def matrices(self) -> list[Tensor]:
        """What a step multiplies with h, (4N + 4M, N), and with h^, (12Z + 4M, M)."""
        on_h = torch.cat([self.recurrent_weight, self.hyper_main_weight])
        return [on_h, torch.cat([self.embedding_weight, self.hyper_recurrent_weight])]

    @staticmethod
    def operands(before: HyperLstmState, after: HyperLstmState) -> list[Tensor]:
        """What a step multiplied each of `matrices` with."""
        return [before.h, after.hyper_h]

    def step(
        self,
        state: HyperLstmState,
        projected: Tensor,
        mask: Tensor | float = 1.0,
        products: list[Product] | None = None,
    ) -> HyperLstmState:
        """The next state; `projected`: (B, 4N + 4M), of the input."""
        on_h, on_hyper_h = products or [Product(matrix) for matrix in self.matrices()]
        of_x, hyper_of_x = self._gates(projected)
        of_h, hyper_of_h = self._gates(product(on_h, state.h))
        hyper_y = hyper_of_h + hyper_of_x + state.hyper_gates.view_as(hyper_of_x)
        hyper_y = self.hyper_gate_norm(hyper_y + self.hyper_bias)
        hyper_h, hyper_c = updated(
            hyper_y, state.hyper_c, self.hyper_cell_norm, self.forget_bias, 1.0
        )
        sizes = [3 * GATES * self.embedding, GATES * self.hyper_units]
        z, hyper_gates = product(on_hyper_h, hyper_h).split(sizes, 1)
        d_h, d_x, b = self.scaling(z)
        y = self.gate_norm(d_h * of_h + d_x * of_x + b + self.bias)
        h, c = updated(y, state.c, self.cell_norm, self.forget_bias, mask)
        # As the initial state is: under autocast the product is of half precision.
        hyper_gates = hyper_gates.to(c.dtype).contiguous()
        return HyperLstmState(h, c, hyper_h, hyper_c, hyper_gates)

    def _gates(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4N + 4M): (B, 4, N) of the main cell, (B, 4, M) of the hyper cell."""
        main, hyper = y.split([GATES * self.units, GATES * self.hyper_units], 1)
        return main.unflatten(1, (GATES, self.units)), hyper.unflatten(1, (GATES, self.hyper_units))

    def scaling(self, z: Tensor) -> tuple[Tensor, ...]:
        """d_h, d_x and b - b_0, each (B, 4, N), of the embeddings without bias, (B, 12Z)."""
        z = z + F.pad(self.embedding_bias, (0, GATES * self.embedding))
        z = z.unflatten(1, (3 * GATES, self.embedding))
        return torch.einsum("bkz,kzn->bkn", z, self.scales).chunk(3, 1)
