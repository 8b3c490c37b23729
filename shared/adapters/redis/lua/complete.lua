-- ARGV: job, task, token, lease ms, outcome, failure, new token, completed, failed.
-- Returns {-1, 0} when lost, {0, ring control} when there is more to do, else {1, claim of `finalise`}.
local job, task = ARGV[1], ARGV[2]
local job_key = key('job', job)
if not holds(job, task, ARGV[3]) then return {-1, 0} end
let_go(job, task)
redis.call('HDEL', key('notes', job), task)
if ARGV[6] ~= '' then
  abandon(job, ARGV[6])
elseif task == PLAN then
  redis.call('HSET', job_key, 'planning', '0')
  redis.call('HDEL', key('attempts', job), PLAN)
elseif redis.call('HSET', key('outcomes', job), task, ARGV[5]) == 1 then
  redis.call('HINCRBY', job_key, 'completed', ARGV[8])
  redis.call('HINCRBY', job_key, 'failed', ARGV[9])
  sample_items(job, ARGV[8] + ARGV[9])
end
local fields = redis.call('HMGET', job_key, 'parts', 'abandoned', 'planned', 'planning')
local elected
if fields[2] == '1' then
  elected = redis.call('HLEN', key('tokens', job)) == 0
    and redis.call('LLEN', key('ready', CONTROL, job)) == 0
else
  elected = fields[3] == '1' and fields[4] ~= '1'
    and redis.call('HLEN', key('outcomes', job)) == tonumber(fields[1])
end
if elected then return {1, lease(job, FINALISE, ARGV[7], tonumber(ARGV[4]))} end
if fields[2] ~= '1' and replan(job) then return {0, notify_consumers(CONTROL)} end
return {0, 0}
