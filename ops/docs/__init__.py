"""The generated tables of `docs/`: `python -m ops.docs` writes them between their markers."""
