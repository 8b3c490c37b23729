"""The web pages: templates, ES modules and style sheets, and the routes that serve them.

Belongs here: what a browser loads. Scripts call the public API (`/v1/…`) with the visitor's key.
Does not belong here: services. A page has no data that a client of the API cannot get.
"""
