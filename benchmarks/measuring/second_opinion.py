"""What fvcore counts on a module that it traces: a second opinion on its MACs."""

import logging
import warnings

import torch
from torch import nn

from benchmarks.measuring.costs import Inputs, Macs, images
from benchmarks.measuring.products import CountError, is_product

with warnings.catch_warnings():  # fvcore's import warns of its own use of torch.jit
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis

NO_PRODUCTS = (
    "batch_norm",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "adaptive_avg_pool2d",
    "upsample_bilinear2d",
    "upsample_nearest2d",
    "grid_sampler",
    "scatter_add",
)
"""Operators that fvcore would count although they are no products."""


def second_opinion(model: nn.Module, inputs: Inputs = images) -> Macs:
    """fvcore's MACs of a forward pass, F(batch): per item F(2) - F(1), the rest once a batch.

    The module is traced and left in evaluation mode.

    Raises:
        CountError: why fvcore cannot count it.
    """
    model.eval().cpu()
    one, two = (_traced_macs(model, inputs(batch)) for batch in (1, 2))
    macs = Macs(per_image=two - one, generator=2 * one - two)
    if macs.per_image < 0 or macs.generator < 0:
        raise CountError(f"its MACs of 1 and 2 images, {one:,} and {two:,}, do not fit together")
    return macs


@torch.no_grad()
def _traced_macs(model: nn.Module, inputs: tuple) -> int:
    analysis = FlopCountAnalysis(model, inputs)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    analysis.set_op_handle(**{f"aten::{name}": _nothing for name in NO_PRODUCTS})
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    try:
        total = analysis.total()
        skipped = analysis.unsupported_ops()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CountError(f"it cannot be traced: {reason[:200]}") from error
    unknown = [name for name in sorted(skipped) if _is_product(name)]
    if unknown:
        raise CountError(f"it has no rule for {', '.join(unknown)}")
    return int(total)


def _is_product(name: str) -> bool:
    namespace, _, operator = name.partition("::")
    return namespace not in ("aten", "prim") or is_product(operator)


def _nothing(inputs: list, outputs: list) -> int:
    return 0
