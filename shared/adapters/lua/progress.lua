-- ARGV: job. Returns {completed, failed} items of the parts that have ended, or {} if unknown.
local fields = redis.call('HMGET', key('job', ARGV[1]), 'parts', 'completed', 'failed')
if not fields[1] then return {} end
return {tonumber(fields[2] or 0), tonumber(fields[3] or 0)}
