"""Flask plumbing: middleware, JSON bodies and responses, pagination, event streams."""
