"""The views: they read a request, call a service and render its result, in about 25 lines each.

Belongs here: what knows Flask. Each module makes one blueprint from its dependencies.
Does not belong here: decisions that a test can check without HTTP.
"""
