"""Files of rows: what a file is, its rows one after another, and rows as a file again.

Here belong compression, encodings, delimiters and the three formats; all stream in bounded memory.
Not here: where a file comes from or goes to, what a row asks for, ids that came before, parts.
A row that is wrong is a value with its fault; only a file that cannot be read raises.
"""
