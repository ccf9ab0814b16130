"""A submission: the folder of an array job, which has the folder's name.

specs.json            Slurm's version and the specs of the runs, in the order of the tasks
job.sh                what each task runs
logs/<index>.log      what a task printed, each time that it was begun
events/<index>.jsonl  what became of its run, with the nodes (engines/events.py)
"""

import json
import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records.provenance import ROOT
from benchmarks.runs.engines.events import Event
from benchmarks.runs.engines.slurm import commands
from benchmarks.runs.engines.spec import Spec
from benchmarks.system.files import write_atomically

PREFIX = "run-bench-"
RESTARTS = 50
"""How often a task that was stopped is requeued."""

SCRIPT = """\
#!/bin/bash
#SBATCH --signal=TERM@120
export PYTHONPATH={root}${{PYTHONPATH:+:$PYTHONPATH}}
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}}
[ -n "$SLURM_CPUS_PER_TASK" ] && export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun --nodes=1 --ntasks=1 --unbuffered {python} -P -m benchmarks.runs.engines.slurm.task {folder}
code=$?
# 75: stopped with a checkpoint. 143: ended by SIGTERM before the run could catch it.
# After scancel this script is gone, so that the task does not come back.
if [ $code = 75 ] || [ $code = 143 ]; then
    [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ] && exec scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""


@dataclass(frozen=True)
class Submission:
    """An array job by its folder."""

    folder: Path

    @classmethod
    def written(cls, home: Path, specs: Sequence[Spec]) -> "Submission":
        """A new one in `home`, not submitted yet."""
        submission = cls(home / f"{PREFIX}{secrets.token_hex(4)}")
        (submission.folder / "events").mkdir(parents=True)
        (submission.folder / "logs").mkdir()
        for index in range(len(specs)):  # no other node must learn later that they exist
            submission.events(index).touch()
        content = {"version": commands.version(), "specs": [spec.as_json() for spec in specs]}
        write_atomically(submission.folder / "specs.json", json.dumps(content))
        script = SCRIPT.format(
            root=shlex.quote(str(ROOT)),
            python=shlex.quote(sys.executable),
            folder=shlex.quote(str(submission.folder)),
            restarts=RESTARTS,
        )
        write_atomically(submission.script, script)
        return submission

    def submit(self, tasks: int, options: Sequence[str], threads: int | None) -> str:
        """Submit `tasks` tasks; gives the job's number. `options`: the user's, of sbatch.

        Raises:
            EngineError: with what sbatch said.
        """
        logs = str(self.folder / "logs").replace("%", "%%")
        cpus = [f"--cpus-per-task={threads}"] if threads else []
        own = (
            f"--job-name={self.name}",
            f"--array=0-{tasks - 1}",
            f"--output={logs}/%a.log",
            "--open-mode=append",
            "--requeue",
        )
        return commands.submit(self.script, [*cpus, *options, *own])

    @property
    def name(self) -> str:
        """The job's name."""
        return self.folder.name

    def exists(self) -> bool:
        """Whether the folder of a job of this name is here."""
        return self.name.startswith(PREFIX) and (self.folder / "specs.json").exists()

    @property
    def script(self) -> Path:
        """The place of the batch script."""
        return self.folder / "job.sh"

    def events(self, index: int) -> Path:
        """The place of a task's events."""
        return self.folder / "events" / f"{index}.jsonl"

    def log(self, index: int) -> Path:
        """The place of what a task printed."""
        return self.folder / "logs" / f"{index}.log"

    def content(self) -> tuple[str, list[Spec]]:
        """Slurm's version and the specs."""
        values = json.loads((self.folder / "specs.json").read_text(encoding="utf-8"))
        return values["version"], [Spec.of_json(spec) for spec in values["specs"]]


def append(file: Path, event: Event) -> None:
    """Add an event; closed at once, so that other machines see it."""
    with file.open("a", encoding="utf-8") as stream:
        # A line of its own even if a process died in the middle of the last one.
        stream.write(f"\n{json.dumps(event)}\n")


def read(file: Path, offset: int = 0) -> tuple[list[Event], int]:
    """The events from an offset on, and the offset of those to come."""
    with file.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    whole = data.rfind(b"\n") + 1
    events = []
    for line in data[:whole].splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:  # empty, or half a line
            continue
    return events, offset + whole
