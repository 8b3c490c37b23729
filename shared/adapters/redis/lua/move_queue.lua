-- ARGV: queue, another queue, most jobs.
local queue, to, left = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- The job's tasks, leased ones included, belong to the other queue from now on.
local function rehome(job, account)
  local ready = key('ready', queue, job)
  if redis.call('HGET', key('job', job), 'queue') ~= queue then
    redis.call('DEL', ready)
    return
  end
  local leased = 0
  for _, task in ipairs(redis.call('HKEYS', key('tokens', job))) do
    if is_part(task) then leased = leased + 1 end
  end
  fly(job, 'parts', -leased)
  redis.call('HSET', key('job', job), 'queue', to)
  fly(job, 'parts', leased)
  redis.call('RENAME', ready, key('ready', to, job))
  if redis.call('RPUSH', key('jobs', to, account), job) == 1 then enter(to, account) end
end

local from_lane, to_lane = calls_of(queue), calls_of(to)
for _, account in ipairs(redis.call('ZRANGE', key('accounts', from_lane), 0, -1)) do
  local from, calls = key('calls', queue, account), key('calls', to, account)
  local entered = redis.call('EXISTS', calls) == 1
  redis.call('ZUNIONSTORE', calls, 2, calls, from)
  redis.call('DEL', from)
  if not entered then enter(to_lane, account) end
  leave(from_lane, account)
end
for _, account in ipairs(redis.call('ZRANGE', key('accounts', queue), 0, -1)) do
  local jobs = key('jobs', queue, account)
  while left > 0 do
    local job = redis.call('LPOP', jobs)
    if not job then break end
    rehome(job, account)
    left = left - 1
  end
  if redis.call('LLEN', jobs) == 0 then leave(queue, account) end
end
redis.call('SADD', key('queues'), to)
