"""The files, uploads and batches of the OpenAI API: its objects and its request bodies.

Names and meanings of OpenAI's fields follow its published specification; the fields of Pigeonhole
are additions. Nothing here looks anything up.
"""
