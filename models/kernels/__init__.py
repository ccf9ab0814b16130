"""Kernel sources: where a backbone's 3x3 kernels come from, one file each."""
