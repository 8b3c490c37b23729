"""The models: what turns texts into vectors.

Here belong the port that every text encoder follows and one module per kind of model behind it.
Not here: batches and priorities (`workers.microbatching`), windows of long texts and the cache of
label prompts (`workers.embedding`), and anything that scores or learns (`workers.core`).
"""
