"""Sandbox: untrusted bytes are parsed in child processes with limits on memory and time."""
