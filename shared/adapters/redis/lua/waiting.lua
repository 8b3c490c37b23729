-- ARGV: queue.
return backlog(ARGV[1])
