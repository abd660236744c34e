"""What verl's entry point loads: importing this module registers everything."""

from turngym.trainers.interop.verl_credit import register

__all__: list[str] = []

register()
