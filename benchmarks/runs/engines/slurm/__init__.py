"""The Slurm engine: an array job by plain sbatch, a task a run.

Tasks write their records themselves, on a file system that all nodes share, and tell events in
files. The driver submits, polls squeue and reads; if it is gone, the tasks go on, and the same
command finds them again by the job's name. A task that was stopped requeues itself.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from benchmarks.records.store import RunId
from benchmarks.runs.engines.local import ended_meanwhile
from benchmarks.runs.engines.protocol import EngineError, Work
from benchmarks.runs.engines.slurm import commands
from benchmarks.runs.engines.slurm.submission import Submission
from benchmarks.runs.engines.slurm.watch import Task, Watch
from benchmarks.runs.engines.spec import Spec
from benchmarks.runs.options import RunOptions
from benchmarks.runs.outcomes import without_record
from benchmarks.runs.progress import Outcome, Progress
from benchmarks.runs.runner import Run
from benchmarks.system.files import locked


class Slurm:
    """Runs as the tasks of an array job, which outlive this process."""

    untimed = "engine slurm shares its nodes with other jobs"

    def __init__(self, options: RunOptions):
        commands.version()  # raises where Slurm is not installed
        self.sbatch_options = shlex.split(options.slurm_options)
        self.threads = options.threads

    def run_all(self, work: Work, progress: Progress) -> dict[RunId, Outcome]:
        """As the protocol; with `detach` the runs are left to Slurm."""
        tasks, made = self._tasks(work, progress)
        if not work.options.detach:
            return made | Watch(work, progress, tasks).outcomes()
        return made | left(tasks, progress)

    def _tasks(self, work: Work, progress: Progress) -> tuple[list[Task], dict[RunId, Outcome]]:
        """The tasks of the runs, found in Slurm's queue or submitted; and what ended since."""
        home = Path(work.options.checkpoint_dir).absolute() / "slurm"
        with locked(home / "lock"):  # two drivers do not submit a run twice
            tasks = queued(home, work, progress)
            known = {task.run.id for task in tasks}
            others = [run for run in work.runs if run.id not in known]
            made = ended_meanwhile(others, progress)
            missing = [run for run in others if run.id not in made]
            if tasks and not work.options.detach:
                progress.note(f"{counted(tasks)} in Slurm's queue already")
            if missing and not work.should_stop():
                most = commands.max_array_size()
                for first in range(0, len(missing), most):
                    runs = missing[first : first + most]
                    tasks += self._submit(home, runs, work, progress)
        return tasks, made

    def _submit(self, home: Path, runs: list[Run], work: Work, progress: Progress) -> list[Task]:
        """Submit runs as one array."""
        submission = Submission.written(home, [work.spec(run) for run in runs])
        job = submission.submit(len(runs), self.sbatch_options, self.threads)
        tasks = [Task(run, submission, index, f"{job}_{index}") for index, run in enumerate(runs)]
        if not work.options.detach:
            progress.note(f"{counted(tasks)} submitted as job {job}: {submission.folder}")
        return tasks


def left(tasks: Sequence[Task], progress: Progress) -> dict[RunId, Outcome]:
    """The outcomes of runs that nobody waits for; says so in one line."""
    made = {}
    for task in tasks:
        outcome = without_record(task.run, "submitted", "left to Slurm")
        made[task.run.id] = outcome
        progress.ended(task.run, outcome)
    if tasks:
        jobs = dict.fromkeys(task.id.partition("_")[0] for task in tasks)
        progress.note(
            f"{counted(tasks)} left to Slurm as job {', '.join(jobs)}; `status` says how they "
            "are, and the same command without --detach waits for them"
        )
    return made


def counted(tasks: Sequence[Task]) -> str:
    """`1 run is` or `4 runs are`."""
    return "1 run is" if len(tasks) == 1 else f"{len(tasks)} runs are"


def queued(home: Path, work: Work, progress: Progress) -> list[Task]:
    """The tasks of runs that wait or run, submitted by an earlier call."""
    wanted = {key_of(work.spec(run)): run for run in work.runs}
    specs: dict[str, list[Spec]] = {}
    tasks = []
    for (name, index), listed in commands.listed().items():
        submission = Submission(home / name)
        if not (listed.live and submission.exists()):
            continue
        if name not in specs:
            _, specs[name] = submission.content()
        spec = specs[name][index]
        run = wanted.get(key_of(spec))
        if run is None:
            continue
        if spec.recipe["hash"] != run.recipe.hash:
            raise EngineError(
                f"{run.title} is in Slurm's queue as {listed.id} with recipe hash "
                f"{spec.recipe['hash']}, not {run.recipe.hash}: wait for it, or scancel {listed.id}"
            )
        task = Task(run, submission, index, listed.id, listed.state)
        task.catch_up(progress)
        if not task.ended:
            tasks.append(task)
    return tasks


def key_of(spec: Spec) -> tuple:
    """What tells a run from others, whatever code and settings it was submitted with."""
    name, place = spec.recipe["name"], spec.settings["results_dir"]
    return spec.model, spec.data, name, spec.seed, spec.study, spec.plugin_sha256, place
