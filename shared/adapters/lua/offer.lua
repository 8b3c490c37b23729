-- ARGV: queue, message, bound. Returns -1 when full, else whether to ring.
local inline = key('inline', ARGV[1])
if redis.call('LLEN', inline) >= tonumber(ARGV[3]) then return -1 end
redis.call('RPUSH', inline, ARGV[2])
redis.call('SADD', key('queues'), ARGV[1])
return summon(ARGV[1])
