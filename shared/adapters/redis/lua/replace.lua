-- ARGV: job, old record, new record. Returns whether it was replaced.
local job_key = key('job', ARGV[1])
if redis.call('HGET', job_key, 'record') ~= ARGV[2] then return 0 end
redis.call('HSET', job_key, 'record', ARGV[3])
return 1
