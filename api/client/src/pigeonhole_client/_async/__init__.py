"""The asynchronous client. `_sync` is made of it by `generate_sync.py`: change it here only."""
