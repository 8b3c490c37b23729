-- ARGV: job. Returns {completed, failed, now (ms), samples}: items of the parts that have ended, and
-- when; or {} if unknown.
local fields = redis.call('HMGET', key('job', ARGV[1]), 'parts', 'completed', 'failed')
if not fields[1] then return {} end
local samples = redis.call('LRANGE', key('samples', ARGV[1]), 0, -1)
return {tonumber(fields[2] or 0), tonumber(fields[3] or 0), now(), samples}
