"""The object store on an S3-compatible server, and the buckets of users."""
