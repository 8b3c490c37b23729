"""Hostile bytes are parsed in child processes: the pool in the worker, and the child itself."""
