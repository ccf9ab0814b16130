"""The rows of `list` and `cost`. No torch is loaded for closed forms: `list` answers at once."""

import fnmatch
from dataclasses import dataclass

from benchmarks.records import store, validation
from benchmarks.training.messages import nearest
from models import naming, registry

NEAR_SIZE = 0.1
"""A size is wanted within this part of itself."""


@dataclass(frozen=True)
class Wanted:
    """Which models are wanted; what is not given wants all.

    - `task`: what models read, "images" or "text"
    - `pattern`: a name with `*` and `?`, or a part of one
    - `family`: how names begin (`hyper_resnet`) or the kernel source (`hyper`)
    - `pair`: a plain model; wanted are it and the models whose plain pair it is
    - `size`: parameters, within 10 %; `min_params`, `max_params`: bounds, included
    """

    task: str | None = None
    pattern: str | None = None
    family: str | None = None
    pair: str | None = None
    size: int | None = None
    min_params: int | None = None
    max_params: int | None = None

    def names(self) -> list[str]:
        """The listed models that name, family and pair let through.

        Raises:
            ValueError: for a family that no model has, or an unknown pair.
        """
        chosen = registry.names(self.task)
        if self.pattern is not None:
            wild = self.pattern if set(self.pattern) & set("*?[") else f"*{self.pattern}*"
            chosen = [name for name in chosen if fnmatch.fnmatchcase(name, wild)]
        if self.family is not None:
            families = {name: _families(registry.get(name)) for name in registry.names()}
            known = sorted(set().union(*families.values()))
            if self.family not in known:
                hint = nearest(naming.plain(self.family), known)
                allowed = ", ".join(known)
                raise ValueError(f"unknown family {self.family!r}; allowed are {allowed}{hint}")
            chosen = [name for name in chosen if self.family in families[name]]
        if self.pair is not None:
            plain = registry.get(self.pair).name
            chosen = [name for name in chosen if plain in (name, registry.get(name).pair)]
        return chosen

    def fits(self, params: int | None) -> bool:
        """Whether a number of parameters is wanted; an unknown one is if no number is given."""
        low, high = self.min_params or 0, self.max_params
        if self.size is not None:
            low = max(low, round(self.size * (1 - NEAR_SIZE)))
            upper = round(self.size * (1 + NEAR_SIZE))
            high = upper if high is None else min(high, upper)
        if params is None:
            return not low and high is None
        return low <= params and (high is None or params <= high)


EVERYTHING = Wanted()


def _families(spec: registry.ModelSpec) -> set[str]:
    """How the name begins, and the kernel source."""
    begin = naming.family(spec.name)
    return {begin} if spec.builder is not None else {begin, spec.kernels}


def listing(wanted: Wanted = EVERYTHING) -> list[dict]:
    """The rows of the registered models; those without a closed form are built and counted.

    Raises:
        ValueError: for a family or pair that is not known.
    """
    rows = []
    for name in wanted.names():
        spec = registry.get(name)
        in_closed_form = spec.closed_form and registry.is_built_in(name)
        rows.append(listed(spec) if in_closed_form else cost(name))
    return [row for row in rows if wanted.fits(row["params"])]


def listed(spec: registry.ModelSpec) -> dict:
    """The row of a model from its closed form; needs `spec.closed_form`."""
    return _row(spec, spec.parameters(), spec.macs(), spec.frozen_parameters())


def cost(name: str, num_classes: int | None = None) -> dict:
    """The row of a model as it is counted on the built module.

    What cannot be had is None, and then `note` says why; it also says where counters differ.
    `wrong` says how a closed form differs from the module.
    """
    from benchmarks.measuring.products import CountError
    from benchmarks.runs.counting import closed_form_differs, count
    from benchmarks.system.faults import described, is_fault

    spec = registry.get(name)
    num_classes = num_classes or spec.usual_classes
    try:
        counts = count(name, num_classes)
        wrong = closed_form_differs(name, counts, num_classes)
    except CountError as error:
        return _row(spec, None, None, None, wrong=str(error))
    except BaseException as error:
        if not is_fault(error):
            raise
        return _row(spec, None, None, None, described(error))
    macs = (counts.macs.per_image, counts.macs.generator) if counts.macs else None
    why = f"MACs not counted: {counts.reason}" if counts.macs is None else counts.difference
    return _row(spec, counts.parts, macs, counts.frozen, None if wrong else why, wrong)


def _row(
    spec: registry.ModelSpec,
    parts: dict[str, int] | None,
    macs: tuple[int, int] | None,
    frozen: int | None,
    note: str | None = None,
    wrong: str | None = None,
) -> dict:
    """The JSON object of `list` and `cost`.

    `parts`: parameters by component. `macs`: (per image, of the generator per forward pass).
    """
    per_image, generator = macs or (None, None)
    published = store.load_published().get(spec.name)
    if published and spec.recurrent is not None and note is None:
        note = spec.recurrent.printed_otherwise(published["data"], published["params"])
    return {
        "model": spec.name,
        "task": spec.task,
        "pair": spec.pair,
        "kernels": spec.kernels if spec.builder is None else None,
        "params": None if parts is None else sum(parts.values()),
        "frozen_params": frozen,
        "params_by_component": parts,
        "macs_per_image": per_image,
        "generator_macs": generator,
        "flops_per_image": validation.doubled(per_image),
        "generator_flops": validation.doubled(generator),
        "published": published,
        "note": note,
        "wrong": wrong,
    }
