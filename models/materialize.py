"""Materialise: run a kernel source once and keep its kernels."""

import copy

import torch

from models.kernels.protocol import KernelNetwork, dense
from models.kernels.stored import StoredKernels


@torch.no_grad()
def materialize(model: KernelNetwork) -> KernelNetwork:
    """The same backbone with `StoredKernels`: identical outputs, no generator, loadable into the plain network.

    Factored kernels are multiplied out, so that outputs are equal to rounding only.

    Raises:
        TypeError: if the model has no kernel source.
    """
    if not isinstance(model, KernelNetwork):
        raise TypeError(
            f"{type(model).__name__} has no kernel source; only backbones with one can be materialised"
        )
    stored = StoredKernels.holding(
        model.kernels.shapes, [dense(kernel) for kernel in model.generate()]
    )
    # The generator is not copied: the memo stands its replacement in.
    return copy.deepcopy(model, {id(model.kernels): stored})
