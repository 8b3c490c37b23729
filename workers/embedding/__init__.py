"""Embedding: items and label prompts become vectors; media are loaded, long texts cut."""
