"""The implementations of `shared.ports`: two object stores, the Redis ledger and replies, Celery.

These are the only modules that speak to a server. Each maps the exceptions of its client library to
`shared.errors`. Only the mains (`api.main`, `workers.main`, `workers.keeper.main`, `ops`) choose
among them.
"""
