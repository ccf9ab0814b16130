"""What `--dry-run` prints: a line a run, and the total."""

from typing import TYPE_CHECKING

from benchmarks.cli import exit_codes
from benchmarks.cli.output import duration
from benchmarks.system.words import counted

if TYPE_CHECKING:
    from benchmarks.runs.planning import Planned


def print_plan(planned: "list[Planned]") -> int:
    """Print it; gives the exit code."""
    for run in planned:
        spec = run.spec
        title = f"{spec.model} on {run.dataset}, {spec.recipe.name}, seed {spec.seed}"
        print(f"{title}: {_what(run)} -> {run.record_path}")
    missing = [run for run in planned if not run.done]
    known = [run.seconds for run in missing if run.seconds is not None]
    done = len(planned) - len(missing)
    unknown = len(missing) - len(known)
    total = f", about {duration(sum(known))} of training one after another" if known else ""
    if known and unknown:
        total += f" and {unknown} of unknown length"
    print(f"{counted(len(planned), 'run')}: {done} done already, {len(missing)} to train{total}")
    return exit_codes.OK


def _what(run: "Planned") -> str:
    if run.done:
        return "done already"
    verb = "to resume" if run.resumes else "to train"
    if run.seconds is None:
        return f"{verb}, no record says how long"
    whole = "in all " if run.resumes else ""
    return f"{verb}, {whole}about {duration(run.seconds)} ({run.source})"
