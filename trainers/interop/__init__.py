"""turngym inside other trainers: verl (`verl_credit`, `verl_loop`) and TRL (`trl`)."""
