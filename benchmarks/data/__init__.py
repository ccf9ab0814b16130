"""Data sets as uint8 tensors, their splits and batches."""
