"""Dialects: the shapes in which clients ask and are answered, to and from the one internal request.

A dialect is a module with what `protocol` says; `registry` chooses between them:

- `native`: classify bodies with fields of ours, and every path that no other dialect claims.
- `jina`: classify bodies as the vendor specifies them.
- `classer`, `classer_tag`: a text, an image or a document beside `labels`, and the path to tag.
- `openai`: the paths of files, uploads and batches.

The other modules are parts that dialects share. All are pure: the front end speaks dialects over
HTTP, workers in the lines of batches. A dialect knows nothing of another one, nor of what becomes
of a request.
"""
