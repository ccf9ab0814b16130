"""A run as JSON, for a process on this or another machine, which refuses it if its own code,
plugin or data are others.
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.data import datasets
from benchmarks.records import store
from benchmarks.records.provenance import own_sha256
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import RunSpec
from benchmarks.runs.runner import Run
from benchmarks.training import recipes
from models import plugins, registry

SETTINGS = (
    "results_dir",
    "checkpoint_dir",
    "data_dir",
    "device",
    "threads",
    "deterministic",
    "parallel_seeds",
    "resume_changed",
    "traceback",
)
"""The options that travel; precision, compile mode and mirroring are in the recipe."""


class Mismatch(ValueError):
    """Code, plugin or data of a worker that are not the driver's; the message is one line."""


@dataclass(frozen=True)
class Spec:
    """One run, complete: which, on what data, how, and the hashes of code and data.

    `dataset`: as it is named on the command line, with an absolute path; `data`: the hashes of its
    files and decoded images. `plugins`: the files that register the model; `path`: the driver's
    `sys.path`, for what they import. `commit`, `dirty`: of the driver's code, for workers that have
    no git.
    """

    model: str
    dataset: str
    data: tuple[str | None, str | None]
    recipe: dict
    seed: int
    study: str | None
    settings: dict
    plugins: tuple[str, ...]
    plugin_sha256: str | None
    source_sha256: str
    commit: str | None = None
    dirty: bool | None = None
    path: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run, dataset: str, options: RunOptions, code: dict) -> "Spec":
        """That of a driver's run; `code`: of `provenance.code()`."""
        settings = {name: getattr(options, name) for name in SETTINGS}
        for name in ("results_dir", "checkpoint_dir", "data_dir"):
            settings[name] = str(Path(settings[name]).absolute())
        loaded = () if registry.is_built_in(run.model) else tuple(map(str, plugins.LOADED))
        return cls(
            run.model,
            datasets.with_absolute_path(dataset),
            run.id.data,
            run.recipe.as_dict(),
            run.seed,
            run.study,
            settings,
            loaded,
            run.plugin_sha256,
            code["source_sha256"],
            code["commit"],
            code["dirty"],
            tuple(str(Path(folder).absolute()) for folder in sys.path) if loaded else (),
        )

    @classmethod
    def of_json(cls, values: dict) -> "Spec":
        """The spec of `as_json`'s values."""
        lists = {key: tuple(values[key]) for key in ("data", "plugins", "path")}
        return cls(**values | lists)

    def as_json(self) -> dict:
        """Plain values, for `json.dumps`."""
        return asdict(self)

    def with_settings(self, **settings: object) -> "Spec":
        """The same run with other settings."""
        return replace(self, settings=self.settings | settings)

    def moved(self, folder: Path, plugin_files: tuple[str, ...]) -> "Spec":
        """The same run with its results and checkpoints under `folder`, its plugins elsewhere."""
        folders = {"results_dir": str(folder / "results")}
        folders["checkpoint_dir"] = str(folder / "checkpoints")
        return replace(self, settings=self.settings | folders, plugins=plugin_files, path=())

    @property
    def run_spec(self) -> RunSpec:
        """Which run is wanted."""
        return RunSpec(self.model, recipes.from_record(self.recipe), self.seed)

    @property
    def title(self) -> str:
        """What the run is, for messages."""
        return f"{self.model}, {self.recipe['name']}, seed {self.seed}"

    @property
    def options(self) -> RunOptions:
        """The options that travelled."""
        return RunOptions(**self.settings)

    def load_code(self) -> None:
        """Load the plugins, and compare the hashes of the code and of the recipe.

        Raises:
            Mismatch: naming what differs.
        """
        self._refuse_other("code", own_sha256(), self.source_sha256)
        # At the end: nothing of the user's takes the place of what is imported already.
        sys.path += [folder for folder in self.path if folder not in sys.path]
        for file in self.plugins:
            try:
                registry.load_plugin(file)
            except registry.RegistryError as error:
                raise Mismatch(f"{self.title}: {error}") from None
        self._refuse_other("plugin", plugins.sha256_of(self.model), self.plugin_sha256)
        self._refuse_other("recipe", self.run_spec.recipe.hash, self.recipe["hash"])

    def refuse_other_data(self, run_id: store.RunId) -> None:
        """Refuse a run whose data here are not the driver's.

        Raises:
            Mismatch: naming both hashes.
        """
        for here, wanted in zip(run_id.data, self.data, strict=True):
            self._refuse_other("data", here, wanted)

    def _refuse_other(self, what: str, here: str | None, wanted: str | None) -> None:
        if here != wanted:
            shown = [(digits or "none")[:12] for digits in (here, wanted)]
            raise Mismatch(
                f"{self.title}: the {what} of this worker is {shown[0]}, of the driver {shown[1]}; "
                "was it edited since?"
            )
