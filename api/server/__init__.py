"""The HTTP server of one API process: connections on an event loop, the application in threads.

Only the event loop waits for clients, always with a timeout: a slow upload or a slow reader holds
no thread and no slot (slow loris).
"""
