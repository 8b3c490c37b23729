"""The ledger and the replies on a Redis-compatible server."""
