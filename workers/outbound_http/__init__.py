"""The way out to strangers: names resolved and judged, connections bounded, each host in turn."""
