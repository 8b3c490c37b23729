"""The use cases of the API, without Flask. Each gets its ports as arguments."""
