"""The models: encoders of texts and images.

This package has the ports of encoders and one module per kind of model. Elsewhere are batches and
priorities (`workers.microbatching`), windows of long texts and the cache of label prompts
(`workers.embedding`), and everything that scores or learns (`workers.core`).
"""
