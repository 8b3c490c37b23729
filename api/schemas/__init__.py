"""The shapes that travel over HTTP: bytes to JSON values, values to internal requests and back.

Belongs here: pure translation. A dialect parses a body to the one internal request and renders the
one internal result; it knows no other dialect, no Flask, no port.
"""
