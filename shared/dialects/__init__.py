"""Dialects: the shapes in which clients ask and are answered, to and from the one internal request.

Pure. The front end speaks them over HTTP, workers in the lines of batches. A dialect knows nothing
of another one, nor of what becomes of a request.
"""
