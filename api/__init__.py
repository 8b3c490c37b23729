"""HTTP in, job out. Parses, checks, enqueues, waits or answers 202, renders.

Belongs here: dialects, routes, keys, problems, the documents about the API.
Does not belong here: anything that knows a model from the inside. An API image holds neither numpy
nor torch.
"""
