"""Measurements: each prints its machine, date and commit, and a baseline taken in the same run.

python -m ops.bench.speed               the path, against bare SentenceTransformer.encode
python -m ops.bench.few_shot            training and classifiers, against embedding and zero-shot
python -m ops.bench.quality             the learner over training sizes, against both SVMs
python -m ops.bench.quality_zero_shot   zero-shot scores and their calibration
"""
