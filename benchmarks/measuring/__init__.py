"""Callables and modules in, plain values out: parameters, FLOPs, speed."""
