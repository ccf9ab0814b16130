"""What the exit code of a command says."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.runs.progress import Outcome

OK, FAILED, WRONG_INPUT, STOPPED = 0, 1, 2, 75
DESCRIPTION = (
    "exit codes: 0 done, 1 something failed, 2 wrong input, 75 stopped, run again to resume"
)

OF_STATUS = {
    "ok": OK,
    "submitted": OK,
    "diverged": OK,
    "failed": FAILED,
    "out_of_memory": FAILED,
    "refused": WRONG_INPUT,
    "busy": STOPPED,
    "interrupted": STOPPED,
    "not_started": STOPPED,
}
"""The code of a run by its outcome's status."""


def of_runs(outcomes: "Iterable[Outcome]") -> int:
    """The highest code of any run: stopped before refused before failed before done."""
    return max((OF_STATUS[outcome.status] for outcome in outcomes), default=OK)
