-- ARGV: queue, message, account, bound. Returns -1 when full, else whether to ring.
local queue, account = ARGV[1], ARGV[3]
local lane, calls = calls_of(queue), key('calls', queue, account)
local waiting = redis.call('ZCARD', calls)

-- The accounts that wait share the bound, so that one cannot take it all.
local accounts = redis.call('ZCARD', key('accounts', lane)) + (waiting == 0 and 1 or 0)
if waiting >= math.max(1, math.floor(tonumber(ARGV[4]) / accounts)) then return -1 end

local number = string.format('%016d', redis.call('INCR', key('numbers')))
local size = math.ceil(#ARGV[2] / SMALL_BYTES) * SMALL_BYTES
redis.call('HSET', key('messages'), number, ARGV[2])
redis.call('ZADD', calls, place(lane, account) + size, number)
if waiting == 0 then enter(lane, account) end
redis.call('SADD', key('queues'), queue)
return notify_consumers(queue)
