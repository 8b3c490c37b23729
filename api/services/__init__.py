"""The use cases of the API, without Flask: each takes its ports as arguments."""
