"""Many callers in front of one model: which windows run together, how many, and in what order."""
