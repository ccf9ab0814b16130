"""What all commands that train or time have in common: folders, device, data, when to stop."""

import math
import os
import re
import shlex
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

from benchmarks.training.messages import shown
from benchmarks.training.seeds import MAX_COUNT

MAX_THREADS = 1024
"""Far more than the cores of a machine; a system gives no process threads without end."""


MAX_JOBS = 256
ENGINES = ("local", "slurm", "ray")
OF_ENGINE = {
    "local": ("jobs", "devices", "parallel_seeds"),
    "slurm": ("slurm_options", "detach"),
    "ray": ("ray_address", "runs_per_gpu"),
}
"""Options that one engine alone has."""


SET_BY_SLURM = ("--array", "--job-name", "--output", "--open-mode", "--requeue", "--no-requeue")
"""Options of sbatch that the Slurm engine sets."""


class OptionError(ValueError):
    """An option that is not allowed; the message is one line for the user."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where runs are kept, on what they are made, and when they stop.

    - `results_dir`, `checkpoint_dir`, `data_dir`: folders of records, checkpoints and data sets
    - `download`: whether a data set that is not there may be fetched (cifar10, cifar100, svhn)
    - `device`: "auto" (CUDA if there is one), "cpu" or "cuda"; `threads`: CPU threads (all cores)
    - `precision`, `compile`, `flip`: in place of the recipe's, if they are given
    - `deterministic`: bit-identical repeats on one machine, slower on CUDA
    - `parallel_seeds`: runs of a model side by side on one GPU
    - `time_limit`: seconds after which runs stop with a checkpoint
    - `resume_changed`: resume even if code, torch, recipe, data or settings changed since the
      checkpoint; the record says so
    - `engine`: what runs the matrix, one of ENGINES
    - `jobs`: processes of the local engine (1, or one a device), each with its share of the cores
    - `devices`: GPUs of the local engine, as CUDA_VISIBLE_DEVICES names them; a process takes one
    - `slurm_options`: further options of sbatch, as a shell would read them
    - `detach`: submit to Slurm and do not wait; the outcomes are "submitted"
    - `ray_address`: HOST:PORT of a Ray cluster (None: one of this machine, for these runs)
    - `runs_per_gpu`: runs of Ray that share a GPU
    - `traceback`: print the traceback of a run that fails; its reason is one line

    Raises:
        OptionError: for a number that is not allowed.
    """

    results_dir: str | Path = "results"
    checkpoint_dir: str | Path = "checkpoints"
    data_dir: str | Path = "data"
    download: bool = False
    device: str = "auto"
    threads: int | None = None
    precision: str | None = None
    compile: str | None = None
    flip: bool | None = None
    deterministic: bool = False
    parallel_seeds: int = 1
    time_limit: float | None = None
    resume_changed: bool = False
    engine: str = "local"
    jobs: int | None = None
    devices: tuple[str, ...] = ()
    slurm_options: str = ""
    detach: bool = False
    ray_address: str | None = None
    runs_per_gpu: int = 1
    traceback: bool = False

    def __post_init__(self) -> None:
        for name in ("results_dir", "checkpoint_dir", "data_dir"):
            object.__setattr__(self, name, Path(os.path.expanduser(getattr(self, name))))
        if self.threads is not None:
            _refuse_other_than_whole("threads", self.threads, MAX_THREADS)
        _refuse_other_than_whole("parallel_seeds", self.parallel_seeds, MAX_COUNT)
        if self.jobs is not None:
            _refuse_other_than_whole("jobs", self.jobs, MAX_JOBS)
        _refuse_other_than_whole("runs_per_gpu", self.runs_per_gpu, MAX_JOBS)
        if self.ray_address is not None:
            host_and_port(self.ray_address)
        self._refuse_other_engines()
        self._refuse_slurm_options()
        limit = self.time_limit
        is_number = isinstance(limit, Real) and not isinstance(limit, bool)
        if limit is not None and not (is_number and 0 < limit < math.inf):
            raise OptionError(f"time_limit {shown(limit)} is not allowed; it is a number above 0")

    def _refuse_slurm_options(self) -> None:
        """Refuse what no shell could read, and what the engine itself sets."""
        try:
            words = shlex.split(self.slurm_options)
        except ValueError as error:
            raise OptionError(
                f"slurm_options {shown(self.slurm_options)} is not allowed: {error}"
            ) from None
        for word in words:
            if word.partition("=")[0] in SET_BY_SLURM or word[:2] in ("-a", "-J", "-o"):
                raise OptionError(f"slurm_options {shown(word)} is not allowed: the engine sets it")

    def _refuse_other_engines(self) -> None:
        """Refuse an unknown engine, and what the chosen one does not have."""
        if self.engine not in ENGINES:
            allowed = ", ".join(ENGINES)
            raise OptionError(f"engine {shown(self.engine)} is not allowed; choose from {allowed}")
        if self.devices and self.device == "cpu":
            raise OptionError("devices are GPUs: they are not allowed with device 'cpu'")
        if self.devices and self.jobs is not None and self.jobs < len(self.devices):
            raise OptionError(
                f"jobs {self.jobs} is not allowed with {len(self.devices)} devices; a process has "
                "one device, so it is their number or more"
            )
        defaults = self.__dataclass_fields__
        for engine, names in OF_ENGINE.items():
            for name in names:
                value = getattr(self, name)
                if engine != self.engine and value != defaults[name].default:
                    raise OptionError(
                        f"{name} {shown(value)} is not allowed with engine {self.engine}; it is "
                        f"of engine {engine}"
                    )


def _refuse_other_than_whole(name: str, value: object, most: int) -> None:
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (is_whole and 1 <= int(value) <= most):  # type: ignore[call-overload]
        raise OptionError(
            f"{name} {shown(value)} is not allowed; it is a whole number from 1 to {most}"
        )


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
        OptionError: for anything else.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", address)
    if match is None or not 0 < int(match[2]) < 2**16:
        raise OptionError(
            f"ray_address {shown(address)} is not allowed; it is HOST:PORT of the cluster's head"
        )
    return match[1].strip("[]"), int(match[2])
