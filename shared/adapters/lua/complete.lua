-- ARGV: job, task, token, lease ms, outcome, failure, new token.
-- Returns -1 when lost, 0 when more parts run, else the claim of `finalise`.
local job, task = ARGV[1], ARGV[2]
if not holds(job, task, ARGV[3]) then return -1 end
let_go(job, task)
if ARGV[6] ~= '' then
  abandon(job, ARGV[6])
else
  redis.call('HSET', key('outcomes', job), task, ARGV[5])
end
local fields = redis.call('HMGET', key('job', job), 'parts', 'abandoned')
local elected
if fields[2] == '1' then
  elected = redis.call('HLEN', key('tokens', job)) == 0
    and redis.call('LLEN', key('ready', CONTROL, job)) == 0
else
  elected = redis.call('HLEN', key('outcomes', job)) == tonumber(fields[1])
end
if not elected then return 0 end
return lease(job, FINALISE, ARGV[7], tonumber(ARGV[4]))
