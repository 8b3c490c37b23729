"""Handlers: one module per kind of work. Each handler gets its ports as arguments.

`sync_calls` answers synchronous calls, `task_runner` runs a task of a durable job, and `finalise`
ends a job. Calls and jobs share the handler of their kind, such as `classify`.
"""
