"""Slurm's commands, in plain calls: sbatch, squeue, scancel and scontrol; never sacct."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.runs.engines.protocol import EngineError

SECONDS = 60
"""How long a command may take before it counts as failed."""
DROPPED = ("SLURM_", "SQUEUE_", "SCANCEL_", "SCONTROL_")
"""Variables of an outer job, or that change what the commands do. `SBATCH_*` are the user's."""
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States of tasks that do not come back; squeue shows them for some minutes (MinJobAge)."""


@dataclass(frozen=True)
class Listed:
    """A task as squeue lists it. `id`: as scancel takes it; `reason`: why it waits."""

    id: str
    state: str
    reason: str

    @property
    def live(self) -> bool:
        """Whether it runs or waits."""
        return self.state not in ENDED


def environment() -> dict[str, str]:
    """The variables that Slurm's commands get."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or not name.startswith(DROPPED)
    }


def call(*command: str) -> str:
    """What a command prints.

    Raises:
        EngineError: if it is missing or fails; what it said, in one line.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment(),
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C does not reach it
        )
    except FileNotFoundError:
        raise EngineError(
            f"engine slurm needs the command {command[0]}, which is not installed here"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{command[0]} failed: {error}") from None
    if done.returncode:
        said = "; ".join(done.stderr.splitlines()) or f"exit code {done.returncode}"
        raise EngineError(f"{command[0]} failed: {said}")
    return done.stdout.strip()


@cache
def version() -> str:
    """Slurm's version, such as `22.05.8`."""
    return call("sbatch", "--version").split()[-1]


def max_array_size() -> int:
    """How many tasks an array may have."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"), re.M)
    return max(1, int(match[1])) if match else 1


def submit(script: Path, options: Sequence[str]) -> str:
    """Submit a script; gives the job's number."""
    said = call("sbatch", *options, "--parsable", str(script))
    number = said.partition(";")[0]
    if not number.isdecimal():
        raise EngineError(f"sbatch gave no job number but {said!r}")
    return number


def listed() -> dict[tuple[str, int], Listed]:
    """The user's array tasks by the job's name and the index, with some that ended lately."""
    user = f"--user={os.getuid()}"
    columns = "--format=%i|%K|%T|%r|%j"  # the name is last: it alone may contain the separator
    lines = call("squeue", "--noheader", "--array", "--all", "--states=all", user, columns)
    tasks = {}
    for line in lines.splitlines():
        number, index, state, reason, name = line.split("|", 4)
        if index.isdecimal():
            tasks[name, int(index)] = Listed(number, state, reason)
    return tasks


def cancel(tasks: Iterable[str]) -> None:
    """Stop tasks such as `12_3`: those that run get SIGTERM, those that wait are removed."""
    call("scancel", *tasks)
