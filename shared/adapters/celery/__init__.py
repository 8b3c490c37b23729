"""Celery as the doorbell: the app configuration, the consumer and the transport."""
