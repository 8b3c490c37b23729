"""Batches: `plan` reads a file and cuts it into parts, `part` works through one, `end` puts the
results together.
"""
