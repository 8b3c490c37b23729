# Made by generate_sync.py out of ../_async: change it there.
"""The synchronous client. `_sync` is made of it by `generate_sync.py`: change it here only."""
