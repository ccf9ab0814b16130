"""What is compiled, and what becomes of a foreign module that the compiler cannot take.

A built-in model is compiled into one graph or raises: a silent fall-back would be a wrong speed.
A foreign module runs eagerly from the call on that cannot be compiled, and says so.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._functorch import config as functorch_config
from torch.utils._pytree import tree_leaves

from benchmarks.system import generators
from benchmarks.system.device import is_out_of_memory
from benchmarks.system.faults import described
from benchmarks.training.settings import Settings

MOST_COMPILATIONS = 3
"""Of one callable for inputs of one kind of shape: a module that changes from step to step would
spend its time compiling."""
FAULTY = ("comprehensive_padding", "triton.mix_order_reduction")
"""Passes of torch's compiler for GPUs that are off: in torch 2.10 and 2.11 they silently made wrong
values (pytorch/pytorch issues 193061, 190796 and 194281)."""
WRONG = {"fp32": 1e-3, "bf16": 0.1}
"""Relative error of a parameter's gradient up to which it is rounding: that was found to be at most
6e-5, and 0.03 of compiled code in bf16. Uncompiled code rounds more: twice its error is allowed."""
Gradients = dict[str, Tensor]
"""By the name of the parameter."""


class WrongGradientError(Exception):
    """Compiled code has other gradients than the same code as it is."""


class _Inductor:
    """torch's compiler, which counts what it compiles.

    The backward pass is compiled with the forward pass, so that whatever fails does so before a
    step has changed anything.
    """

    def __init__(self) -> None:
        self.options = _options()
        self.compilations = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list) -> Any:
        self.compilations += 1
        with functorch_config.patch(force_non_lazy_backward_lowering=True):
            return torch._inductor.compile(graph, inputs, options=self.options)


def instead(used: str, asked: str) -> str:
    """How the note of a fall-back begins."""
    return f"compile {used} instead of {asked}: "


def _options() -> dict[str, Any]:
    """Without the faulty passes that this torch has."""
    known = torch._inductor.config.get_config_copy()
    return {name: False for name in FAULTY if name in known}


_inductor = functools.cache(_Inductor)  # one: torch keeps compiled code by its compiler


class Compiler:
    """Compiles the modules of one run as its settings say.

    `foreign`: the model is not of this suite. Its steps are not captured as CUDA graphs, because a
    replay would not see what its Python code decides anew in each step.

    `fallback`: why it runs eagerly although it was to be compiled; None if it does not. A run that
    resumes sets it from its checkpoint.
    """

    def __init__(
        self,
        settings: Settings,
        foreign: bool = False,
        note: Callable[[str], None] = lambda text: None,
    ):
        self.settings = settings
        self.foreign = foreign
        self.note = note
        self.fallback: str | None = None

    @property
    def captures(self) -> bool:
        """Whether training steps are captured as CUDA graphs."""
        return self.settings.captures and not self.foreign

    @property
    def compiles(self) -> bool:
        """Whether anything is compiled."""
        return self.settings.compile != "off"

    def compare(self, exact: Gradients, plain: Gradients, compiled: Gradients) -> None:
        """Of code in fp32, as it is under this run's precision, and the same, compiled.

        Raises:
            WrongGradientError: if a parameter's compiled gradient differs from the exact one by
                more than rounding explains.
        """
        norms = {name: float(grad.norm()) for name, grad in exact.items()}
        most = max(norms.values())
        if most == 0 or not all(map(math.isfinite, norms.values())):
            return  # nothing is learned, or training is about to say so

        def error(found: Gradients, name: str) -> float:
            grad = found.get(name, torch.zeros_like(exact[name]))
            return float((grad - exact[name]).norm()) / max(norms[name], 1e-3 * most)

        for name in norms:
            allowed = max(WRONG[self.settings.precision], 2 * error(plain, name))
            if not error(compiled, name) <= allowed:
                raise WrongGradientError(
                    f"compiled by torch {torch.__version__}, the gradient of {name} is wrong on "
                    f"this device (relative error {error(compiled, name):.2g}); choose "
                    "--compile off"
                )

    @property
    def used(self) -> Settings:
        """The settings with what became of `compile`, and why, for a record."""
        return self.settings.falling_back(*self._fallen_back())

    def _fallen_back(self) -> tuple[str, str | None]:
        asked = self.settings.compile
        if self.fallback is not None:
            return "off", f"{instead('off', asked)}{self.fallback}"
        if self.settings.captures and self.foreign:
            reason = "steps of a foreign module are not captured"
            return "default", f"{instead('default', asked)}{reason}"
        return asked, None

    def __call__(self, module: Callable) -> Callable:
        """The module or function, compiled into one graph unless the settings say "off"."""
        if not self.compiles:
            return module
        if not self.foreign:
            return torch.compile(module, options=_options(), dynamic=False, fullgraph=True)
        return _CompiledOrEager(self, module)

    def fall_back(self, reason: str) -> None:
        """Run everything eagerly from now on."""
        self.fallback = reason
        self.note(self._fallen_back()[1] or reason)


class _CompiledOrEager:
    """A foreign module, compiled as long as that works."""

    def __init__(self, compiler: Compiler, module: Callable):
        self.compiler, self.module = compiler, module
        self.backend = _inductor()
        self.compiled = torch.compile(module, backend=self.backend, dynamic=False, fullgraph=True)
        self.compilations: Counter[tuple] = Counter()
        self.worked = False

    def __call__(self, *batch: Any) -> Any:
        if self.compiler.fallback is not None:
            return self.module(*batch)
        # Later failures are of the compiler alone, which leaves the generators as they were; their
        # states at every call, which is every character of a text, would cost a third of a step.
        drawn = None if self.worked else generators.states()
        before = self.backend.compilations
        try:
            result = self.compiled(*batch)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            failure: Exception = error
        else:
            self.worked = True
            if self.backend.compilations > before:
                self._count(batch, self.backend.compilations - before)
            return result
        if drawn is not None:
            generators.restore(drawn)
        result = self.module(*batch)  # if it is the model that fails, it says so here
        cause = getattr(failure, "inner_exception", failure)  # what torch's compiler itself raised
        self.compiler.fall_back(described(cause, longest=120))
        return result

    def _count(self, batch: tuple, compilations: int) -> None:
        shapes = tuple(leaf.shape for leaf in tree_leaves(batch) if isinstance(leaf, Tensor))
        self.compilations[shapes] += compilations
        if self.compilations[shapes] >= MOST_COMPILATIONS:
            made = self.compilations.total()
            self.compiler.fall_back(f"the module changes: {made} compilations")
