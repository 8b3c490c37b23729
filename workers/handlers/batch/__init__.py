"""Batches: `cut_parts` plans the parts of a file, `run_part` runs one, `assemble_output` ends the
batch.
"""
