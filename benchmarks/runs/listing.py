"""The rows of `list` and `cost`. No torch: `list` answers at once."""

from benchmarks.records import store
from models import registry


def listed(spec: registry.ModelSpec) -> dict:
    """The row of a model from its closed form; needs `spec.closed_form`."""
    return cost_row(spec, spec.parameters(), spec.macs(), spec.frozen_parameters())


def cost_row(
    spec: registry.ModelSpec, parts: dict[str, int], macs: tuple[int, int], frozen: int
) -> dict:
    """The JSON object of `list` and `cost`: parameters by component, (MACs per image, generator MACs), published."""
    return {
        "model": spec.name,
        "pair": spec.pair,
        "kernels": spec.kernels if spec.builder is None else None,
        "params": sum(parts.values()),
        "frozen_params": frozen,
        "params_by_component": parts,
        "macs_per_image": macs[0],
        "generator_macs": macs[1],
        "flops_per_image": 2 * macs[0],
        "generator_flops": 2 * macs[1],
        "published": store.load_published().get(spec.name),
    }
