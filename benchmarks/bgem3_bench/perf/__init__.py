"""perf_analyzer driven over ranges of load."""
