-- ARGV: job, task, token, delay ms, burn.
local job, task = ARGV[1], ARGV[2]
if not holds(job, task, ARGV[3]) then return end
let_go(job, task)
if ARGV[5] == '0' then redis.call('HINCRBY', key('attempts', job), task, -1) end
if task ~= FINALISE and redis.call('HGET', key('job', job), 'abandoned') == '1' then
  if end_abandoned(job) then notify_consumers(CONTROL) end
elseif tonumber(ARGV[4]) > 0 then
  redis.call('ZADD', key('delayed'), now() + tonumber(ARGV[4]), job .. ' ' .. task)
else
  local queue = make_ready(job, task, true)
  if queue then notify_consumers(queue) end
end
