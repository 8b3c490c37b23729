"""Engines that score items: each begins at once and answers with a future of its scores."""
