"""Progress of runs on the terminal."""

import sys
from pathlib import Path

from tqdm import tqdm

from benchmarks.cli.output import print_error, print_note
from benchmarks.runs.progress import Outcome, Progress, Timing
from benchmarks.runs.runner import Run


class PrintedNotes(Progress):
    """Notes and errors alone, on stderr."""

    def note(self, text: str) -> None:
        """A fall-back that was taken."""
        print_note(text)

    def timed(self, timing: Timing) -> None:
        """A model that could not be timed."""
        if timing.record is None:
            print_error(f"{timing.model} cannot be timed: {timing.reason}")


class PrintedProgress(PrintedNotes):
    """A bar for each run on a terminal, a line for each epoch, and what came of each run."""

    def __init__(self) -> None:
        self.bars: dict[Path, tqdm] = {}

    def already_done(self, run: Run) -> None:
        """A line."""
        print(f"{run.title}: done already ({run.record_path})")

    def started(self, runs: list[Run]) -> None:
        """A line for each run."""
        self.bars = {}
        for run in runs:
            settings = run.settings
            how = f"{settings.device.type}, {settings.precision}, compile {settings.compile}"
            print(f"{run.title}: {how}", flush=True)
            hidden = not sys.stderr.isatty()
            self.bars[run.record_path] = tqdm(leave=False, disable=hidden, unit="step")

    def step(self, run: Run, step: int, steps: int) -> None:
        """The bar of the run moves on."""
        bar = self.bars[run.record_path]
        if step == 1:
            bar.reset(total=steps)
        bar.update()

    def epoch(self, run: Run, entry: dict, epochs: int) -> None:
        """A line with losses and errors."""
        prefix = f"seed {run.seed} " if len(self.bars) > 1 else ""
        self.bars[run.record_path].write(
            f"  {prefix}epoch {entry['epoch']}/{epochs}  loss {entry['train_loss']:.3f}  "
            f"train {entry['train_error']:.2f} %  validation {entry['val_error']:.2f} %  "
            f"{entry['seconds']:.1f} s"
        )
        sys.stdout.flush()

    def ended(self, run: Run, outcome: Outcome) -> None:
        """A line with the error of the run, or why there is none."""
        bar = self.bars.pop(run.record_path, None)  # none of a run that did not begin
        if bar is not None:
            bar.close()
        record = outcome.record
        if record is None:
            print_error(str(outcome.reason))
        elif outcome.status == "ok":
            kind = "validation" if run.study else "test"
            error = record["val_error" if run.study else "test_error"]
            found = f"{kind} error {error:.2f} %, {record['params']:,} parameters"
            print(f"  {found} -> {run.record_path}")
        else:
            print(f"  {outcome.status}: {outcome.reason} -> {run.record_path}")

    def timed(self, timing: Timing) -> None:
        """A line with the speeds of a model, or why there are none."""
        super().timed(timing)
        if timing.record is None:
            return
        speeds = ", ".join(
            f"{key.replace('_', ' ')} {values['median']:,.0f}"
            for key, values in timing.record["measurements"].items()
        )
        print(f"{timing.model}, images/s: {speeds} -> {timing.record_path}", flush=True)
