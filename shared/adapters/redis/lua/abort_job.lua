-- ARGV: job. Returns whether to ring `control`.
abandon(ARGV[1], '')
return end_abandoned(ARGV[1]) and notify_consumers(CONTROL) or 0
