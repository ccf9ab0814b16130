"""MACs of the operators that torch runs, read at its dispatcher.

There, composite operators (linear, einsum, attention) are taken apart already, and what scripted,
checkpointed or custom-autograd code runs is seen like everything else. Formulas are those of
`torch.utils.flop_counter` (a plugin adds one with `register_flop_formula`) and those below.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


class CountError(ValueError):
    """A count that cannot be had, or would not be true; the message is one line."""


@dataclass(frozen=True)
class Product:
    """One operator that multiplied and added, and how often it did."""

    operator: str
    macs: int


def products(model: nn.Module, *inputs: Any) -> list[Product]:
    """What a forward pass on `inputs` multiplies, in order.

    The module runs as it is, in its own mode.

    Raises:
        CountError: naming the operator that has no formula.
    """
    counter = _Counter()
    with torch.no_grad(), _eager(), _NoEscape(), counter:
        model(*inputs)
    return counter.products


@contextmanager
def _eager() -> Iterator[None]:
    """Compiled parts run eagerly and attention without its fused path, so that both are seen."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _NoEscape(TorchFunctionMode):
    """Refuses what takes numbers out of torch, where nobody counts."""

    WAYS_OUT = (Tensor.numpy, Tensor.__array__, Tensor.__dlpack__)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in self.WAYS_OUT:
            raise CountError(f"Tensor.{func.__name__} takes values out of torch, uncounted")
        return func(*args, **(kwargs or {}))


class _Counter(TorchDispatchMode):
    """Keeps the products of all operators that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        formula = _formula(func)
        if formula is None:
            with self:  # in case that it is composite
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
            _refuse_product(func)
        out = func(*args, **kwargs)
        if formula is not None:
            macs = formula(func, args, kwargs, out)
            if macs:
                self.products.append(Product(func.name(), macs))
        return out


Formula = Callable[[Any, tuple, dict, Any], int]
"""MACs of a call: (operator, args, kwargs, result)."""


def _formula(func: Any) -> Formula | None:
    """The formula of an operator; one that works in place has that of the other."""
    packet = func._overloadpacket
    if packet in OURS:
        return OURS[packet]
    if packet in flop_registry:
        return _of_torch(flop_registry[packet])
    name = packet.__name__
    if func.namespace == "aten" and name.endswith("_") and hasattr(aten, name[:-1]):
        other = getattr(aten, name[:-1])
        return OURS.get(other) or (
            _of_torch(flop_registry[other]) if other in flop_registry else None
        )
    return None


def _of_torch(flops: Callable) -> Formula:
    """A formula of torch.utils.flop_counter, which gives FLOPs of real numbers."""

    def macs(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
        _refuse_layouts(func, args)
        inputs = {key: value for key, value in kwargs.items() if key != "out"}
        counted = flops(*args, **inputs, out_val=out)
        return -(-counted // 2) * _complex_factor(out)

    return macs


def _complex_factor(out: Any) -> int:
    """Real MACs of one MAC of the numbers that come out: four of complex ones."""
    return 4 if isinstance(out, Tensor) and out.is_complex() else 1


def _refuse_layouts(func: Any, args: tuple) -> None:
    for value in args:
        if isinstance(value, Tensor) and value.layout != torch.strided:
            raise CountError(f"{func.name()} of {value.layout} tensors has no formula")


def _of_operand(position: int) -> Formula:
    """Each number of one operand is multiplied once."""

    def macs(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
        _refuse_layouts(func, args)
        return args[position].numel() * _complex_factor(args[position])

    return macs


def _addbmm(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """Sum over a batch (b, n, k) x (b, k, m)."""
    return args[1].numel() * args[2].shape[-1] * _complex_factor(out)


def _int_mm(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    return args[0].numel() * args[1].shape[-1]


def _attention(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """Scores and weighted values of (..., queries, d), (..., keys, d), (..., keys, d_v).

    A mask saves nothing.
    """
    query, key, value = args[:3]
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return scores * (query.shape[-1] + value.shape[-1])


def _rnn_layer(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """One layer and direction: (steps, B, inputs) through (gates H, inputs) and (gates H, H)."""
    steps_and_batch = math.prod(args[0].shape[:2])
    return steps_and_batch * (args[1].numel() + args[2].numel())


def _bilinear(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """out_bo = sum_ij x_bi W_oij y_bj: W x first, then its product with y."""
    x, weight = args[:2]
    outputs, of_x, of_y = weight.shape[-3:]
    return x.numel() // of_x * outputs * of_y * (of_x + 1)


def _distances(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """Euclidean: a sum of squares for each pair of rows."""
    if len(args) > 2 and args[2] != 2:
        raise CountError(f"{func.name()} with p = {args[2]} has no formula")
    return out.numel() * args[0].shape[-1]


def _affine_grid(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """A matrix (d, d + 1) for each of the grid's points, which have d coordinates."""
    return out.numel() * args[0].shape[-1]


def _conv_tbc(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """(T, B, C_in) by weights (K, C_in, C_out) to (T', B, C_out)."""
    return math.prod(out.shape[:2]) * args[1].numel()


OURS: dict[Any, Formula] = {
    aten.mv: _of_operand(0),
    aten.addmv: _of_operand(1),
    aten.dot: _of_operand(0),
    aten.vdot: _of_operand(0),
    aten.addbmm: _addbmm,
    aten._int_mm: _int_mm,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_fused_attention_overrideable: _attention,
    aten.mkldnn_rnn_layer: _rnn_layer,
    aten._trilinear: _bilinear,
    aten._cdist_forward: _distances,
    aten._euclidean_dist: _distances,
    aten.affine_grid_generator: _affine_grid,
    aten.conv_tbc: _conv_tbc,
}
"""What torch's own counter passes over."""

_PRODUCT = re.compile(
    r".*mm|.*mv|v?dot|conv(olution|\d.*)?|attention|encoder|rnn|lstm|gru|fft|linalg|linear|cdist"
    r"|pdist|matmul|gemm|solve|cholesky|inverse|lu|geqrf|orgqr|ormqr|svd|eig|lstsq|matrix"
)
"""A word of an operator's name that says that it multiplies and adds."""
_NO_PRODUCT = re.compile(
    r"_thnn_fused_(lstm|gru)_cell|_?linalg_(vector_norm|cross|check_errors|_powsum)"
    r"|mkldnn_reorder_.*|fft_r?fftfreq|slice_inverse|_compute_linear_combination"
)
"""Operators with such a word that do not."""
NAMESPACES = ("aten", "prim", "prims", "profiler")


def is_product(operator: str) -> bool:
    """Whether an operator's name ("mm", "fft_c2c") says that it multiplies and adds."""
    words = operator.split("_")
    return any(map(_PRODUCT.fullmatch, words)) and not _NO_PRODUCT.fullmatch(operator)


def _refuse_product(func: Any) -> None:
    """An operator without a formula must be none that multiplies and adds.

    Raises:
        CountError: for an operator whose name is that of a product, or that is not torch's own.
    """
    if func.namespace not in NAMESPACES or is_product(func._overloadpacket.__name__):
        raise CountError(f"{func.name()} has no formula")
