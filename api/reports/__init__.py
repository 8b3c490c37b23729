"""Reports of runs for people: one HTML page that needs nothing else, and its plots as SVG.

What a report says is in `api.schemas.run_report` and `run_summary`; here it is only drawn. Nothing
here does I/O or knows Flask.
"""
