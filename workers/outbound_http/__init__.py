"""Outbound HTTP to third-party servers: SSRF-safe client, DNS resolution, per-host concurrency."""
