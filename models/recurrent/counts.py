"""Closed-form parameters and MACs of recurrent networks, without torch.

Ha, Dai & Le, "HyperNetworks" (arXiv:1609.09106), sections 3.2 and A.2.2; inputs are one-hot, so
that the network has as many inputs as symbols.
"""

from dataclasses import dataclass

from models.ledger import nearest_size

GATES = 4
COMPONENTS = ("recurrent", "generator", "layer_norms", "readout")


@dataclass(frozen=True)
class Shape:
    """The size of a recurrent network.

    `hyper_units` (M) and `embedding` (N_z): of the hyper cell of each layer; 0 for a plain LSTM.
    `layer_norm`: of each gate and of the cell inside the output's tanh, with biases or not.
    """

    symbols: int
    units: int
    layers: int = 1
    hyper_units: int = 0
    embedding: int = 0
    layer_norm: bool = False
    norm_biases: bool = True


def parameters(shape: Shape) -> dict[str, int]:
    """Parameters by component, all `COMPONENTS` named."""
    n, m, z = shape.units, shape.hyper_units, shape.embedding
    inputs = [shape.symbols] + [n] * (shape.layers - 1)
    recurrent = sum(GATES * n * (x + n + 1) for x in inputs)
    generator = 0
    if m:
        hyper_cells = sum(GATES * m * (x + n + m + 1) for x in inputs)
        embeddings = GATES * (3 * m * z + 2 * z)  # z_b has no bias
        scales = GATES * 3 * n * z
        generator = hyper_cells + shape.layers * (embeddings + scales)
    norms = 0
    if shape.layer_norm:
        gains = (GATES + 1) * (n + m) * shape.layers
        norms = gains * (2 if shape.norm_biases else 1)
    readout = n * shape.symbols + shape.symbols
    return dict(zip(COMPONENTS, (recurrent, generator, norms, readout), strict=True))


def total(shape: Shape) -> int:
    """All parameters."""
    return sum(parameters(shape).values())


def macs(shape: Shape) -> int:
    """MACs a character in a forward pass.

    Products alone, as everywhere in the suite; that of the first layer with its one-hot input is a
    look-up.
    """
    n, m, z = shape.units, shape.hyper_units, shape.embedding
    inputs = [0] + [n] * (shape.layers - 1)
    recurrent = sum(GATES * n * (x + n) for x in inputs)
    hyper_cells = sum(GATES * m * (x + n + m) for x in inputs)
    scaling = shape.layers * GATES * 3 * z * (m + n)  # z of h^, then d_h, d_x and b of z
    return recurrent + hyper_cells + scaling + n * shape.symbols


def plain_of_equal_size(shape: Shape) -> int:
    """The units of the one-layer LSTM, with or without layer norm, that is nearest in parameters.

    It is the honest rival of a network with a hyper cell.
    """
    wanted = total(shape)

    def count(units: int) -> int:
        plain = Shape(
            shape.symbols,
            units,
            layer_norm=shape.layer_norm,
            norm_biases=shape.norm_biases,
        )
        return total(plain)

    return nearest_size(count, wanted)
