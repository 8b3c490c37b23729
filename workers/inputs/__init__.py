"""Readers of untrusted inputs: tables, images, documents, and media that URLs refer to.

Tables (compression, encodings, CSV dialects, three formats) stream in bounded memory, in both
directions. An invalid row is a value with its fault; only an unreadable file raises. Images and
documents are decoded by pure functions of bytes, which run in the child processes of
`workers.sandbox`. Where a file comes from, and what a row requests, is decided elsewhere.
"""
