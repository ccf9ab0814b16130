"""What a machine gives: atomic files, the device, signals."""
