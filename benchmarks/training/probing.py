"""Which parameters get no gradient, found by trying: a graph that was traced once would not tell.

Layers may be skipped by chance, experts may be chosen by the images.
"""

from collections.abc import Iterable, Iterator
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from benchmarks.data.batches import evaluation_batches
from benchmarks.data.splits import DataSet
from benchmarks.system import generators
from benchmarks.system.faults import is_fault
from benchmarks.training.objective import Normalize, Objective

PROBES = 64
"""The most passes: a layer that takes part in one step of ten is missed in 0.1 % of the cases."""
BATCH = 4


def untrained(
    model: nn.Module, data: DataSet, among: Iterable[str] | None = None
) -> tuple[str, ...]:
    """The trainable parameters (or those `among` them) on which the loss does not depend.

    The loss is the cross-entropy and what a kernel source adds, without the L2 term, in training
    mode, on up to `PROBES` batches. A module that raises is not judged: all of `among` is given.

    This changes the module's buffers and gradients: give one that is of no further use. The global
    generators stay as they are.
    """
    names = dict(model.named_parameters()) if among is None else dict.fromkeys(among)
    missing = {name: p for name, p in model.named_parameters() if name in names and p.requires_grad}
    device = next((p.device for p in missing.values()), torch.device("cpu"))
    objective = Objective(model, Normalize(data.mean, data.std).to(device), l2=0.0)
    try:
        with generators.kept():
            model.train()
            for x, y in _batches(data, device):
                if not missing:
                    break
                missing = _without_gradient(objective, missing, x, y)
    except BaseException as error:
        if not is_fault(error):
            raise
        return tuple(among or ())
    return tuple(missing)


def _without_gradient(
    objective: Objective, parameters: dict[str, nn.Parameter], x: Tensor, y: Tensor
) -> dict[str, nn.Parameter]:
    """Those of the parameters that a backward pass gives no gradient."""
    objective.zero_grad(set_to_none=True)
    loss, _ = objective(x, y)
    if loss.requires_grad:
        loss.backward()
    return {name: p for name, p in parameters.items() if p.grad is None}


def _batches(data: DataSet, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """`PROBES` batches of training images as they are, from the first on, again and again."""
    batches = cycle(evaluation_batches(data.train, BATCH))
    for x, y, _ in islice(batches, PROBES):
        yield x.to(device), y.to(device)
