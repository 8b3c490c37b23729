"""One file for each thing a worker is asked to do; each takes its ports as arguments.

`call` answers inline requests, `part` runs a task of a durable job, `finalise` ends one; both kinds
of work meet in `classify`.
"""
