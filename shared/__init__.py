"""What the API and the workers share: values, names, ports and their adapters.

Belongs here: requests, jobs, object keys, the contracts of ports.
Does not belong here: Flask, numpy, torch, anything that only one side needs.
"""
