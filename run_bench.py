"""The command line of the benchmark: `python run_bench.py --help` lists its commands."""

import sys

from benchmarks.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
