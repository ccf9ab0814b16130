"""What all commands that train or time have in common: folders, device, data, when to stop."""

from dataclasses import dataclass
from pathlib import Path


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

    def __post_init__(self) -> None:
        for name in ("results_dir", "checkpoint_dir", "data_dir"):
            object.__setattr__(self, name, Path(getattr(self, name)).expanduser())
