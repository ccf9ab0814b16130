"""A character model: one-hot symbols, layers of cells, and a readout of logits."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recurrent.cells import HyperLstmCell, LstmCell
from models.recurrent.counts import COMPONENTS, Shape
from models.recurrent.products import DeferredProducts, dtype_of_products
from models.recurrent.protocol import Cell, State

Compiler = Callable[[Callable], Callable]
"""From a function of tensors to a faster one, as `torch.compile` is."""

BLOCK = 20
"""Steps that make their products with the input, and the gradients of matrices, together.

More make temporary tensors so large that the system takes their memory back after each use.
"""


class Dropout(NamedTuple):
    """Masks of a chunk of T steps, of zeros and 1 / keep.

    `inputs`: (T, B, 1), of the symbols. `recurrent` and `outputs`: a (T, B, units) for each layer.
    """

    inputs: Tensor
    recurrent: list[Tensor]
    outputs: list[Tensor]

    def of(self, steps: slice) -> Self:
        """The masks of some of the steps."""
        recurrent = [mask[steps] for mask in self.recurrent]
        return type(self)(self.inputs[steps], recurrent, [mask[steps] for mask in self.outputs])


class RecurrentNetwork(nn.Module):
    """Layers of cells, each with the outputs of the one before as inputs.

    The first has an input for each of `symbols`.

    Raises:
        ValueError: if there is no cell, a cell's inputs are not what it is given, or its
            `components` are not those that there are.
    """

    def __init__(self, cells: Sequence[Cell], symbols: int):
        super().__init__()
        if not cells:
            raise ValueError("a RecurrentNetwork has one cell or more")
        inputs = symbols
        for number, cell in enumerate(cells):
            if cell.projection.shape[1] != inputs:
                of_cell = cell.projection.shape[1]
                raise ValueError(f"cell {number} has {of_cell} inputs and is given {inputs}")
            _refuse_components(cell)
            inputs = cell.units
        self.cells = nn.ModuleList(cast("Sequence[nn.Module]", cells))
        self.readout = nn.Linear(inputs, symbols)
        self._steps = _Steps()

    @classmethod
    def of_shape(cls, shape: Shape, forget_bias: float = 1.0) -> Self:
        """The network of a `Shape`: an LSTM, or a HyperLSTM.

        `forget_bias`: added to the forget gate, after the layer norm, in both cells.
        """
        inputs = [shape.symbols] + [shape.units] * (shape.layers - 1)
        return cls([_cell(shape, size, forget_bias) for size in inputs], shape.symbols)

    def layers(self) -> list[Cell]:
        """The cells, from the input on."""
        return cast("list[Cell]", list(self.cells))

    def component_of(self, name: str) -> str:
        """Where a parameter counts: `recurrent`, `generator`, `layer_norms` or `readout`.

        A cell that has no `components` is `recurrent` as a whole; these name its parameters, or
        modules of it.
        """
        head, _, rest = name.partition(".")
        if head == "readout":
            return "readout"
        number, _, parameter = rest.partition(".")
        components = getattr(self.cells[int(number)], "components", {})
        named = [key for key in components if f"{parameter}.".startswith(f"{key}.")]
        return components[max(named, key=len)] if named else "recurrent"

    def weights(self) -> list[nn.Parameter]:
        """The matrices: neither biases nor layer norms, whatever their form."""
        return [
            parameter
            for name, parameter in self.named_parameters()
            if parameter.ndim > 1
            and not name.endswith("bias")
            and self.component_of(name) != "layer_norms"
        ]

    @property
    def generated(self) -> bool:
        """Whether a generator makes weights anew at every step."""
        names = [name for name, _ in self.named_parameters()]
        return any(self.component_of(name) == "generator" for name in names)

    def initial(self, batch: int) -> list[State]:
        """A state for each layer."""
        return [cell.initial(batch) for cell in self.layers()]

    def dropout(self, steps: int, batch: int, keep: float, generator: torch.Generator) -> Dropout:
        """Masks that keep a share of everything, drawn on the parameters' device.

        `generator` is of that device.
        """
        weight = self.readout.weight

        def mask(units: int) -> Tensor:
            drawn = weight.new_empty(steps, batch, units)
            return drawn.bernoulli_(keep, generator=generator) / keep

        units = [cell.units for cell in self.layers()]
        return Dropout(mask(1), [mask(size) for size in units], [mask(size) for size in units])

    def compile_steps(self, compiler: Compiler) -> None:
        """Has the cells' steps compiled, one by one: never the loop, which would be unrolled.

        Copies of the network share the compiled steps. They are no part of its state.
        """
        self._steps = _Steps(compiler)

    def forward(
        self, symbols: Tensor, states: list[State], dropout: Dropout | None = None
    ) -> tuple[Tensor, list[State]]:
        """Logits (T, B, symbols) of what follows each of `symbols` (T, B), and the last states.

        The states are carried from one chunk of a text to the next. Dropout is what is given,
        whether the module is in training or not.

        Raises:
            ValueError: if a cell's states are not all of one form.
        """
        if torch.is_grad_enabled():
            states = [_differentiable(state) for state in states]
        logits = []
        for start in range(0, len(symbols), BLOCK):
            steps = slice(start, start + BLOCK)
            of_block = dropout.of(steps) if dropout else None
            made, states = self._block(symbols[steps], states, of_block)
            logits.append(made)
        return torch.cat(logits), states

    def _block(
        self, symbols: Tensor, states: list[State], dropout: Dropout | None
    ) -> tuple[Tensor, list[State]]:
        """What `forward` gives, of at most `BLOCK` steps."""
        ends = []
        outputs = symbols
        for number, (cell, state) in enumerate(zip(self.layers(), states, strict=True)):
            if number:
                projected = outputs @ cell.projection.T
            else:
                projected = _of_symbols(symbols, cell.projection, dropout)
            masks = dropout.recurrent[number] if dropout else None
            outputs, end = self._unrolled(cell, state, projected, masks)
            ends.append(end)
            if dropout:
                outputs = outputs * dropout.outputs[number]
        return self.readout(outputs), ends

    def _unrolled(
        self, cell: Cell, state: State, projected: Tensor, masks: Tensor | None
    ) -> tuple[Tensor, State]:
        """Outputs (T, B, units) of all steps, and the last state."""
        first, step = state, self._steps.of(cell)
        of_steps = [1.0] * len(projected) if masks is None else masks.unbind()
        products = DeferredProducts(cell, *projected.shape[:2])
        outputs = []
        for number, of_x in enumerate(projected.unbind()):
            after = step(cell, state, of_x, of_steps[number], *products.at(number))
            products.keep(state, after)
            state = after
            outputs.append(state[0])
        _refuse_other_form(cell, first, state)
        return torch.stack(outputs), state


def _of_symbols(symbols: Tensor, projection: Tensor, dropout: Dropout | None) -> Tensor:
    """The product with one-hot symbols (T, B): (T, B, rows), of the type that products have."""
    projected = F.embedding(symbols, projection.T)
    if dropout:
        projected = projected * dropout.inputs
    return projected.to(dtype_of_products(projection))


def _refuse_components(cell: Cell) -> None:
    """A component counts as one of a few, and of parameters that a cell may have."""
    for key, component in getattr(cell, "components", {}).items():
        if component not in COMPONENTS:
            raise ValueError(
                f"component {component!r} of {key!r} in {type(cell).__name__} is not allowed; "
                f"choose from {', '.join(COMPONENTS)}"
            )
        if not hasattr(cell, key.split(".")[0]):
            raise ValueError(f"{type(cell).__name__} has no {key!r}, which its components name")


def _refuse_other_form(cell: Cell, before: State, after: State) -> None:
    """A state is carried on in the memory of the one before."""
    one, other = ([tuple(part.shape) for part in state] for state in (before, after))
    if one != other:
        raise ValueError(
            f"{type(cell).__name__}: a state of shapes {one} becomes one of {other}; all states of "
            "a cell are alike, the batch first"
        )


def _differentiable(state: State) -> State:
    """The same state, that the first step may be compiled as all others are, with gradients."""
    values = [_with_gradient(value) for value in state]
    return state._make(values) if hasattr(state, "_make") else tuple(values)


def _with_gradient(value: Tensor) -> Tensor:
    if value.requires_grad or not value.is_floating_point():
        return value
    return value.detach().requires_grad_()


class _Steps:
    """The compiled step of cells of each class and size, which takes the cell: copies share it."""

    def __init__(self, compiler: Compiler | None = None):
        self.compiler = compiler
        self.compiled: dict[tuple, Callable] = {}

    def of(self, cell: Cell) -> Callable:
        """The step of a cell, called with the cell first."""
        step = type(cell).step
        if self.compiler is None:
            return step
        sizes = [parameter.shape for parameter in cast("nn.Module", cell).parameters()]
        kind = (type(cell), *sizes)
        if kind not in self.compiled:
            self.compiled[kind] = self.compiler(step)
        return self.compiled[kind]

    def __deepcopy__(self, memo: dict) -> Self:
        return self


def _cell(shape: Shape, inputs: int, forget_bias: float) -> Cell:
    norms = (shape.layer_norm, shape.norm_biases, forget_bias)
    if not shape.hyper_units:
        return LstmCell(inputs, shape.units, *norms)
    return HyperLstmCell(inputs, shape.units, shape.hyper_units, shape.embedding, *norms)
