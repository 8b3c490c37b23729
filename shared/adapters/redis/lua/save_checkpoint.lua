-- ARGV: job, task, token, note. Returns whether the task is still held.
if not holds(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('HSET', key('notes', ARGV[1]), ARGV[2], ARGV[4])
return 1
