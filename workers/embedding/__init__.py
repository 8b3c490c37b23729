"""Items and labels to vectors: what is read of an item, and what a model sees of it."""
