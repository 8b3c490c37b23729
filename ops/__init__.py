"""Ways to run the service: the embedded launcher, the command line, images, dashboards, benches.

Belongs here: what starts the processes, looks after them and shows what they say.
Does not belong here: anything that a request or a job passes through.
"""
