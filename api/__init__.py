"""The HTTP API: validates a request, submits it to a queue, and answers with the result or with
202.

Belongs here: routes, keys, error responses, the OpenAPI document, the pages.
Does not belong here: anything that knows a model from the inside. An API image holds neither numpy
nor torch.
"""
