"""Dialects: the formats of requests and responses, to and from the one internal request.

A dialect is a module with the members of `protocol`; `registry` chooses between them:

- `native`: classify bodies with Pigeonhole's fields, and every path that no other dialect claims.
- `jina`: classify bodies as the vendor specifies them.
- `classer`, `classer_tag`: a text, an image or a document beside `labels`; the path to tag.
- `cn8`, `cn8_few_shot`: the paths of the CN8 API.
- `openai`: the paths of files, uploads and batches.

The other modules are shared parts. All are pure: the API uses dialects over HTTP, and workers use
them for the lines of batches. A dialect knows neither another dialect nor the processing of a
request.
"""
