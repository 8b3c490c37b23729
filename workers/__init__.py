"""Workers, which hold models and run work, and the keeper, which recovers and cleans up.

This package has the consumer, the handlers, models, micro-batching and the pure core. The HTTP API,
keys and wire shapes are in `api` and `shared`.
"""
