"""The keeper: job recovery, webhook delivery, retention and orphan garbage collection."""
