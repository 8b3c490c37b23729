-- ARGV: job, task, token, lease ms. Returns -1 when lost, 0 when abandoned, else 1.
local job, task = ARGV[1], ARGV[2]
if not holds(job, task, ARGV[3]) then return -1 end
redis.call('ZADD', key('leases'), now() + tonumber(ARGV[4]), job .. ' ' .. task)
if task == FINALISE then return 1 end
return redis.call('HGET', key('job', job), 'abandoned') == '1' and 0 or 1
