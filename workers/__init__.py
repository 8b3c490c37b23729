"""Message in, result out: processes that hold models warm, and the keeper that loses nothing.

Belongs here: claiming work, its handlers, models, micro-batching, the pure core.
Does not belong here: HTTP, keys, wire shapes.
"""
