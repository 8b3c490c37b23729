"""The HTTP server of one API process: connections on an event loop, the application in threads.

A client is only ever waited for on the loop, and never without a bound: no thread and no slot is
held by a body that is still coming or by an answer that is read slowly.
"""
