-- ARGV: job, record, account, queue, parts. Returns whether to ring.
local job = ARGV[1]
if redis.call('EXISTS', key('job', job)) == 1 then return 0 end
redis.call('HSET', key('job', job),
  'record', ARGV[2], 'account', ARGV[3], 'queue', ARGV[4], 'parts', ARGV[5])
for part = 0, tonumber(ARGV[5]) - 1 do make_ready(job, 'part:' .. part) end
return summon(ARGV[4])
