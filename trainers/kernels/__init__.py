"""Batched kernels of training."""
