"""The files, uploads and batches of the OpenAI API: its objects and its request bodies.

What a field of theirs is called and means follows their published specification; fields of ours
stand beside theirs. Nothing here looks anything up.
"""
