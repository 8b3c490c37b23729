-- ARGV: queue, worker or '', calls, parts, lease ms, token, leaving. Returns {messages, claims}.
local queue, worker, parts = ARGV[1], ARGV[2], tonumber(ARGV[4])
if worker ~= '' then
  redis.call('DEL', key('rung', queue))
  redis.call('ZADD', key('attending', queue), now() + ATTEND_MS, worker)
end
local messages = redis.call('LPOP', key('inline', queue), ARGV[3]) or {}
local claims = {}
while #claims < parts do
  local account = redis.call('LPOP', key('accounts', queue))
  if not account then break end
  local jobs = key('jobs', queue, account)
  local job = redis.call('LPOP', jobs)
  if job then
    local ready = key('ready', queue, job)
    local task = redis.call('LPOP', ready)
    if task and redis.call('EXISTS', key('job', job)) == 1 then
      claims[#claims + 1] = lease(job, task, ARGV[6] .. '-' .. #claims, tonumber(ARGV[5]))
    end
    if redis.call('LLEN', ready) > 0 then redis.call('RPUSH', jobs, job) end
  end
  if redis.call('LLEN', jobs) > 0 then redis.call('RPUSH', key('accounts', queue), account) end
end
if ARGV[7] == '1' and #messages == 0 and #claims == 0 then
  redis.call('ZREM', key('attending', queue), worker)
end
return {messages, claims}
