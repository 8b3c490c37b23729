-- ARGV: queue, worker or '', calls, parts, lease ms, token, leaving, most parts of an account.
-- Returns {messages, claims}.
local queue, worker, parts = ARGV[1], ARGV[2], tonumber(ARGV[4])
if worker ~= '' then
  redis.call('DEL', key('rung', queue))
  redis.call('ZADD', key('attending', queue), now() + ATTEND_MS, worker)
end
local messages, bytes = {}, 0
while #messages < tonumber(ARGV[3]) and bytes < MOST_INLINE_BYTES do
  local message = redis.call('LPOP', key('inline', queue))
  if not message then break end
  messages[#messages + 1] = message
  bytes = bytes + #message
end

-- The account whose turn it is, passing over those that have as many parts under way as they may.
local function next_account()
  local turns = redis.call('ZRANGE', key('accounts', queue), 0, -1, 'WITHSCORES')
  for index = 1, #turns, 2 do
    local flying = tonumber(redis.call('HGET', key('flying', queue), turns[index]) or 0)
    if flying < tonumber(ARGV[8]) then return turns[index], tonumber(turns[index + 1]) end
  end
end

local claims = {}
while #claims < parts do
  local account, turn = next_account()
  if not account then break end
  local jobs = key('jobs', queue, account)
  local job = redis.call('LPOP', jobs)
  local rows = 0
  if job then
    local ready = key('ready', queue, job)
    local task = redis.call('LPOP', ready)
    if task and redis.call('EXISTS', key('job', job)) == 1 then
      claims[#claims + 1] = lease(job, task, ARGV[6] .. '-' .. #claims, tonumber(ARGV[5]))
      rows = tonumber(redis.call('HGET', key('job', job), 'cost') or 1)
    end
    if redis.call('LLEN', ready) > 0 then redis.call('RPUSH', jobs, job) end
  end
  redis.call('SET', key('clock', queue), turn)
  redis.call('HSET', key('served', queue), account, turn + rows)
  if redis.call('LLEN', jobs) > 0 then
    redis.call('ZADD', key('accounts', queue), turn + rows, account)
  else
    leave(queue, account)
  end
end
if ARGV[7] == '1' and #messages == 0 and #claims == 0 then
  redis.call('ZREM', key('attending', queue), worker)
end
return {messages, claims}
