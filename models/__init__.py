"""Networks of the benchmark: backbones, kernel sources and the registry that pairs them."""
