"""Measurements: each prints its machine, date and commit, and a baseline taken in the same run.

python -m ops.bench.speed               the path, against bare SentenceTransformer.encode
python -m ops.bench.few_shot            training and classifiers, against embedding and zero-shot
python -m ops.bench.quality             the learner over training sizes, against both SVMs
python -m ops.bench.quality_zero_shot   zero-shot scores and their calibration
python -m ops.bench.label_examples            a few examples of each label sent with a request
python -m ops.bench.bulk_tagging                a file of texts, against bare encode and the bare
worker python -m ops.bench.fairness            what a batch costs other callers and other batches
python -m ops.bench.million             rows without a model: speed, memory, Redis, objects python
-m ops.bench.async_jobs             small jobs: accepted, ended, none twice python -m
ops.bench.two_workers         two workers against one python -m ops.bench.media
images, documents, one image beside a batch
"""
