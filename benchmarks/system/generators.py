"""The global generators of random numbers that a user's code may draw from: torch, NumPy, Python.

A module that has its own generator seeds it itself.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed every global generator; NumPy's takes 32 bits of the seed."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def states() -> tuple[Any, ...]:
    """The states of all of them; on CUDA where it is in use."""
    on_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), on_cuda, np.random.get_state(), random.getstate()


def restore(saved: tuple[Any, ...]) -> None:
    """Set the states that `states` gave."""
    on_cpu, on_cuda, of_numpy, of_python = saved
    torch.set_rng_state(on_cpu)
    if on_cuda is not None:
        torch.cuda.set_rng_state_all(on_cuda)
    np.random.set_state(of_numpy)
    random.setstate(of_python)


@contextmanager
def kept() -> Iterator[None]:
    """Within it anything may be drawn; afterwards the generators are as before."""
    saved = states()
    try:
        yield
    finally:
        restore(saved)
