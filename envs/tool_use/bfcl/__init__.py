"""Stateful back-ends of BFCL's multi-turn entries, with its state and response checks."""
