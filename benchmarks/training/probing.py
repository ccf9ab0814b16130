"""Which parameters get no gradient, found by trying: a graph that was traced once would not tell.

Layers may be skipped by chance, experts may be chosen by the images.
"""

from collections.abc import Iterable
from itertools import islice

from torch import nn

from benchmarks.data.datasets import Data
from benchmarks.system import generators
from benchmarks.system.faults import is_fault
from benchmarks.training.learning import Batch, probes

PROBES = 64
"""The most passes: a layer that takes part in one step of ten is missed in 0.1 % of the cases."""


def untrained(model: nn.Module, data: Data, among: Iterable[str] | None = None) -> tuple[str, ...]:
    """The trainable parameters (or those `among` them) on which the loss does not depend.

    The loss is the cross-entropy and what a kernel source adds, without the L2 term, in training
    mode, on up to `PROBES` batches. A module that raises is not judged: all of `among` is given.

    This changes the module's buffers and gradients: give one that is of no further use. The global
    generators stay as they are.
    """
    names = dict(model.named_parameters()) if among is None else dict.fromkeys(among)
    missing = {name: p for name, p in model.named_parameters() if name in names and p.requires_grad}
    try:
        objective, batches = probes(model, data)
        with generators.kept():
            model.train()
            for batch in islice(batches, PROBES):
                if not missing:
                    break
                missing = _without_gradient(objective, missing, batch)
    except BaseException as error:
        if not is_fault(error):
            raise
        return tuple(among or ())
    return tuple(missing)


def trained(model: nn.Module) -> set[str]:
    """The names of the parameters that are trained."""
    return {name for name, p in model.named_parameters() if p.requires_grad}


def _without_gradient(
    objective: nn.Module, parameters: dict[str, nn.Parameter], batch: Batch
) -> dict[str, nn.Parameter]:
    """Those of the parameters that a backward pass gives no gradient."""
    objective.zero_grad(set_to_none=True)
    loss, _ = objective(*batch)
    if loss.requires_grad:
        loss.backward()
    return {name: p for name, p in parameters.items() if p.grad is None}
