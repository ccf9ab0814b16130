"""What a task of an array job runs: `python -m benchmarks.runs.engines.slurm.task FOLDER`.

It makes one run of the submission in the folder, prints what becomes of it, and appends the events
to the task's file. The exit code is 75 if the run was stopped and is to be requeued.
"""

import os
import platform
import sys
from pathlib import Path

from benchmarks.runs.engines.events import Event
from benchmarks.runs.engines.slurm.submission import Submission, append, read
from benchmarks.runs.engines.worker import execute
from benchmarks.runs.progress import epoch_text
from benchmarks.runs.runner import EngineUse
from benchmarks.system.stop import Stop
from benchmarks.tasks import Task

FAILED, BUSY = 1, 76
EXIT_CODES = {"ok": 0, "diverged": 0, "interrupted": 75, "refused": 2, "busy": BUSY}


class Teller:
    """Tells of a run of a task in a file of events and on stdout; `status`: of its last end."""

    def __init__(self, file: Path, node: str, task: Task):
        self.file = file
        self.node = node
        self.task = task
        self.status: str | None = None

    def emit(self, event: Event) -> None:
        """Tell an event; steps are left out, which a driver that polls would show late."""
        if event["event"] == "step":
            return
        if event["event"] == "begin":
            event = event | {"node": self.node}
        self.status = event.get("status")
        print(described(event, self.task), flush=True)
        append(self.file, event)


def described(event: Event, task: Task) -> str:
    """An event as a line of the log."""
    kind = event["event"]
    if kind == "begin":
        how = f"{event['device']}, {event['precision']}, compile {event['compile']}"
        return f"begun on {event['node']} after {event['restarts']} restarts: {how}"
    if kind == "epoch":
        return epoch_text(event["entry"], event["epochs"], task)
    if kind == "note":
        return f"note: {event['text']}"
    return event["status"] + (f": {event['reason']}" if event["reason"] else "")


def main() -> int:
    """Make the task's run; gives the exit code."""
    submission = Submission(Path(sys.argv[1]))
    index = int(os.environ["SLURM_ARRAY_TASK_ID"])
    node = os.environ.get("SLURMD_NODENAME") or platform.node()
    version, specs = submission.content()
    spec = specs[index]
    print(spec.title, flush=True)
    file = submission.events(index)
    begins = [event for event in read(file)[0] if event["event"] == "begin"]
    nodes = {node, *(event["node"] for event in begins)}
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    engine = EngineUse("slurm", version, restarts, len(nodes))
    teller = Teller(file, node, spec.run_spec.recipe.task)
    execute([spec], teller.emit, Stop(), engine)
    return EXIT_CODES.get(str(teller.status), FAILED)


if __name__ == "__main__":
    sys.exit(main())
