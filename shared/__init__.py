"""What the front end and the workers both stand on: values, names, contracts and their adapters.

Belongs here: what a request becomes, what a job is, where objects lie, what a port promises.
Does not belong here: Flask, numpy, torch, anything that only one side needs.
"""
