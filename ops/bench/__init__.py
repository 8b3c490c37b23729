"""Measurements: each prints its machine, date and commit, and a baseline taken in the same run.

python -m ops.bench.speed               the path, against bare SentenceTransformer.encode
python -m ops.bench.quality_zero_shot   zero-shot scores and their calibration
"""
