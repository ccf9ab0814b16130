"""Models by name: built from a seed, counted, and refused if their output has the wrong shape."""

import torch

from benchmarks.runs.settings import RunError
from models import registry


def build(name: str, num_classes: int, seed: int) -> torch.nn.Module:
    """The model of a name, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    return registry.build(name, num_classes)


def refuse_wrong_output(name: str, num_classes: int) -> None:
    """Refuse a model of a plugin whose output has the wrong shape, before anything is trained.

    A model that raises is not refused: that is a fault of its run, for its record.

    Raises:
        RunError: naming the shape and the wanted one.
    """
    if registry.get(name).closed_form:
        return
    try:
        with torch.no_grad():
            out = build(name, num_classes, seed=0).eval()(torch.zeros(2, 3, 32, 32))
    except Exception:  # noqa: BLE001 - whatever it raises, its run will raise and record
        return
    shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    wanted = (2, num_classes)
    if shape != wanted:
        raise RunError(
            f"model {name!r} makes {shape} of 2 images and {num_classes} classes, not {wanted}; "
            "see `check`"
        )
