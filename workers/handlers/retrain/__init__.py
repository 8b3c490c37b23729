"""Retraining: one run, from its sources to the promotion of a better version.

`run` has the phases, `collect` reads the new examples, `snapshot` stores the state for the next
run. Each method of making challengers is one module behind the port in `method`.
"""
