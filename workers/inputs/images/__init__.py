"""Images: decoded, and preprocessed to the size and the channels of a model."""
