"""The views: read, pick the dialect, submit, render; about 25 lines each.

Belongs here: what knows Flask. A module makes one blueprint out of what it is given.
Does not belong here: decisions that a test could want to ask without HTTP.
"""
