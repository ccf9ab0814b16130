"""Materialise: run a kernel source once and keep its kernels."""

import copy

import torch

from models.kernels.protocol import KernelNetwork, dense
from models.kernels.stored import StoredKernels


@torch.no_grad()
def materialize(model: KernelNetwork) -> KernelNetwork:
    """The same backbone with `StoredKernels`: identical outputs and no generator.

    Its weights load into the plain network. Factored kernels are multiplied out, so that with them
    outputs are equal up to rounding only.

    Raises:
        TypeError: if the model has no kernel source.
    """
    if not isinstance(model, KernelNetwork):
        raise TypeError(
            f"{type(model).__name__} has no kernel source; only backbones with one can be "
            "materialised"
        )
    kernels = [dense(kernel) for kernel in model.generate()]
    stored = StoredKernels.holding(model.kernels.shapes, kernels)
    # The memo makes the copy hold the stored kernels where the model holds its source.
    return copy.deepcopy(model, {id(model.kernels): stored})
