"""The rows of `list` and `cost`. No torch is loaded: `list` answers at once."""

from benchmarks.records import store
from models import registry


def listing() -> list[dict]:
    """The rows of all registered models; those without a closed form are built and counted."""
    rows = []
    for name in registry.names():
        spec = registry.get(name)
        rows.append(listed(spec) if spec.closed_form else _counted(name))
    return rows


def _counted(name: str) -> dict:
    from benchmarks.runs.building import cost

    return cost(name)


def listed(spec: registry.ModelSpec) -> dict:
    """The row of a model from its closed form; needs `spec.closed_form`."""
    return cost_row(spec, spec.parameters(), spec.macs(), spec.frozen_parameters())


def cost_row(
    spec: registry.ModelSpec, parts: dict[str, int], macs: tuple[int, int], frozen: int
) -> dict:
    """The JSON object of `list` and `cost`.

    `parts`: parameters by component. `macs`: (per image, of the generator per forward pass).
    """
    per_image, generator = macs
    return {
        "model": spec.name,
        "pair": spec.pair,
        "kernels": spec.kernels if spec.builder is None else None,
        "params": sum(parts.values()),
        "frozen_params": frozen,
        "params_by_component": parts,
        "macs_per_image": per_image,
        "generator_macs": generator,
        "flops_per_image": store.doubled(per_image),
        "generator_flops": store.doubled(generator),
        "published": store.load_published().get(spec.name),
    }
