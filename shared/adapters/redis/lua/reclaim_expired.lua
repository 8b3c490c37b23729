-- ARGV: attempts, limit, failure. Returns {expired, queues to ring}.
local at = now()
local function split(member) return string.match(member, '^(%S+) (%S+)$') end

local expired = redis.call('ZRANGEBYSCORE', key('leases'), '-inf', at, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(expired) do
  local job, task = split(member)
  let_go(job, task)
  if redis.call('HEXISTS', key('job', job), 'queue') == 1 then
    local spent = tonumber(redis.call('HGET', key('attempts', job), task) or 0) >= tonumber(ARGV[1])
    -- The parts of a planned job end by themselves: they give up rows, not the job.
    if redis.call('HEXISTS', key('job', job), 'low') == 1 and is_part(task) then spent = false end
    if task == FINALISE then
      -- The job must be finalised, so this is retried, with growing pauses.
      redis.call('ZADD', key('delayed'), at + (spent and 60000 or 0), member)
    elseif redis.call('HGET', key('job', job), 'abandoned') == '1' then
      end_abandoned(job)
    elseif spent then
      abandon(job, ARGV[3])
      end_abandoned(job)
    else
      make_ready(job, task, true)
    end
  end
end

local due = redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', at, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(due) do
  redis.call('ZREM', key('delayed'), member)
  local job, task = split(member)
  make_ready(job, task, true)
end

local ring = {}
local queues = redis.call('SMEMBERS', key('queues'))
table.sort(queues)
for _, queue in ipairs(queues) do
  if backlog(queue) == 0 then
    redis.call('SREM', key('queues'), queue)
  -- Work that still waits a tick later is not claimed by the current consumers: ring for others.
  elseif notify_consumers(queue) == 1 or may_ring(queue) == 1 then
    ring[#ring + 1] = queue
  end
end
return {#expired, ring}
