"""Documents: PDF, DOCX and text files, read as pages of text and images."""
