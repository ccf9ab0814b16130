"""The rows of `list` and `cost`. No torch is loaded for closed forms: `list` answers at once."""

from benchmarks.records import store
from models import registry


def listing() -> list[dict]:
    """The rows of all registered models; those without a closed form are built and counted."""
    rows = []
    for name in registry.names():
        spec = registry.get(name)
        in_closed_form = spec.closed_form and registry.is_built_in(name)
        rows.append(listed(spec) if in_closed_form else cost(name))
    return rows


def listed(spec: registry.ModelSpec) -> dict:
    """The row of a model from its closed form; needs `spec.closed_form`."""
    return _row(spec, spec.parameters(), spec.macs(), spec.frozen_parameters())


def cost(name: str, num_classes: int = 10) -> dict:
    """The row of a model as it is counted on the built module.

    What cannot be had is None, and then `note` says why; it also says where counters differ.
    """
    from benchmarks.runs.counting import count
    from benchmarks.runs.recording import reason_of

    spec = registry.get(name)
    try:
        counts = count(name, num_classes)
    except Exception as error:  # noqa: BLE001 - the row says it; the other rows are still shown
        return _row(spec, None, None, None, reason_of(error))
    macs = (counts.macs.per_image, counts.macs.generator) if counts.macs else None
    why = f"MACs not counted: {counts.reason}" if counts.macs is None else counts.difference
    return _row(spec, counts.parts, macs, counts.frozen, why)


def _row(
    spec: registry.ModelSpec,
    parts: dict[str, int] | None,
    macs: tuple[int, int] | None,
    frozen: int | None,
    note: str | None = None,
) -> dict:
    """The JSON object of `list` and `cost`.

    `parts`: parameters by component. `macs`: (per image, of the generator per forward pass).
    """
    per_image, generator = macs or (None, None)
    return {
        "model": spec.name,
        "pair": spec.pair,
        "kernels": spec.kernels if spec.builder is None else None,
        "params": None if parts is None else sum(parts.values()),
        "frozen_params": frozen,
        "params_by_component": parts,
        "macs_per_image": per_image,
        "generator_macs": generator,
        "flops_per_image": store.doubled(per_image),
        "generator_flops": store.doubled(generator),
        "published": store.load_published().get(spec.name),
        "note": note,
    }
