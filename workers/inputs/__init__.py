"""What is read of what others send: files of rows, images, documents, and what URLs lead to.

Files of rows (compression, encodings, delimiters, the three formats) stream in bounded memory, and
rows become a file again; a row that is wrong is a value with its fault, only a file that cannot be
read raises. Images and documents are decoded by pure functions of bytes, which run in child
processes. Not here: where a file comes from or goes to, what a row asks for, the children.
"""
