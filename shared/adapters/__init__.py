"""The implementations of `shared.ports`: two object stores, the Redis ledger and replies, Celery.

The only modules that speak to a server. Each turns its vendor's exceptions into `shared.errors`.
Only the mains (`api.main`, `workers.main`, `workers.keeper.main`, `ops`) choose among them.
"""
