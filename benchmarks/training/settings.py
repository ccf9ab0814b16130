"""How the arithmetic of training is done: device, precision, compilation."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Settings:
    """How the arithmetic is done.

    `precision`: "fp32" or "bf16". `compile`: "off", "default" (by torch.compile) or "graph":
    compiled, and on CUDA the whole step (forward, backward, optimizer) is replayed as one graph.
    `fallbacks`: what was asked for and could not be had. `parallel_seeds`: how many runs are
    interleaved on the device.
    """

    device: torch.device
    precision: str = "fp32"
    compile: str = "off"
    fallbacks: tuple[str, ...] = ()
    deterministic: bool = False
    parallel_seeds: int = 1

    def autocast(self) -> AbstractContextManager:
        """The context of a forward pass in this precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @property
    def captures(self) -> bool:
        """Whether training steps are captured as CUDA graphs."""
        return self.compile == "graph" and self.device.type == "cuda"

    def new_stream(self) -> torch.cuda.Stream | None:
        """A CUDA stream for a run whose steps are captured; None for any other run."""
        return torch.cuda.Stream(self.device) if self.captures else None

    def falling_back(self, compile_mode: str, fallback: str | None) -> "Settings":
        """The settings with the compile mode as used, and why it is another one, if it is."""
        if fallback is None:
            return self
        return replace(self, compile=compile_mode, fallbacks=(*self.fallbacks, fallback))
