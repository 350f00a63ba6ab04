"""Where a compiled model runs: numpy, host, emulated and real boards."""
