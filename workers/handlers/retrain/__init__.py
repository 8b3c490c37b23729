"""Retraining: one run from its sources to the promotion of a better version.

`run` has the phases, `collect` the new examples, `snapshot` what a run leaves for the next one.
A method that makes challengers is a file of its own behind `method`.
"""
