"""The schemas of the HTTP API: JSON bodies to internal requests, internal results to JSON.

Belongs here: pure translation. No module knows Flask or a port.
"""
