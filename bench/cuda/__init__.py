"""Checks and timings that need a GPU; see bench/cuda_check.sh."""
