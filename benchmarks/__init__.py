"""Running and reporting the benchmark: data, recipes, training, costs, throughput, records, report."""
