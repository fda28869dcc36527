"""Sampling and attention kernels: each Triton kernel stands beside a torch reference with the same signature."""
