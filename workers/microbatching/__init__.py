"""Micro-batching: which windows of concurrent requests run in one forward pass, and when."""
