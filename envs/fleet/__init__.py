"""Environments and evaluations on other machines, by Ray. Nothing here imports ray before it is used."""
