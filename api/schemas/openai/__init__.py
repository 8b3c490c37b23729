"""The dialect of the OpenAI API for files and batches: its errors, its objects, its request bodies.

What a field of theirs is called and means follows their published specification; fields of ours
stand beside theirs. Nothing here looks anything up.
"""
