"""The object store as a directory."""
