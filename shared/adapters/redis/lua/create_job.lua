-- ARGV: job, record, account, queue, parts (0: to be planned), cost. Returns the queue to ring.
local job, parts = ARGV[1], tonumber(ARGV[5])
if redis.call('EXISTS', key('job', job)) == 1 then return false end
local planned = parts > 0 and '1' or '0'
redis.call('HSET', key('job', job),
  'record', ARGV[2], 'account', ARGV[3], 'queue', ARGV[4], 'parts', ARGV[5],
  'planned', planned, 'cost', ARGV[6])
for part = 0, parts - 1 do make_ready(job, 'part:' .. part) end
local queue = ARGV[4]
if parts == 0 then
  replan(job)
  queue = CONTROL
end
return notify_consumers(queue) == 1 and queue or false
