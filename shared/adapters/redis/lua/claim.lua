-- ARGV: queue, worker or '', calls, parts, lease ms, token, leaving, most parts of an account, how
-- many accounts to pass over, these, then those of which only short messages are taken.
-- Returns {messages, claims}.
local queue, worker, parts = ARGV[1], ARGV[2], tonumber(ARGV[4])
if worker ~= '' then
  redis.call('DEL', key('bell_debounce', queue))
  redis.call('ZADD', key('consumers', queue), now() + ATTEND_MS, worker)
end
local passed_over, short_only = {}, {}
for index = 10, #ARGV do
  local accounts = index < 10 + tonumber(ARGV[9]) and passed_over or short_only
  accounts[ARGV[index]] = true
end

local function first_is_short(account)
  local first = redis.call('ZRANGE', key('calls', queue, account), 0, 0)[1]
  return redis.call('HSTRLEN', key('messages'), first) <= SMALL_BYTES
end

local function has_turn(account, lane, most)
  if passed_over[account] then return false end
  if most then
    local in_flight = tonumber(redis.call('HGET', key('in_flight', lane), account) or 0)
    return in_flight < most and not short_only[account]
  end
  return not short_only[account] or first_is_short(account)
end

-- The account with the least virtual time, without excluded accounts and accounts at their limit.
local function next_account(lane, most)
  local turns = redis.call('ZRANGE', key('accounts', lane), 0, -1, 'WITHSCORES')
  for index = 1, #turns, 2 do
    if has_turn(turns[index], lane, most) then return turns[index], tonumber(turns[index + 1]) end
  end
end

local messages, bytes = {}, 0
while #messages < tonumber(ARGV[3]) and bytes < CLAIM_BYTES do
  local account, turn = next_account(calls_of(queue))
  if not account then break end
  local calls = key('calls', queue, account)
  local number = redis.call('ZPOPMIN', calls)[1]
  local message = redis.call('HGET', key('messages'), number)
  redis.call('HDEL', key('messages'), number)
  messages[#messages + 1] = message
  bytes = bytes + #message
  serve(calls_of(queue), account, turn, #message, redis.call('EXISTS', calls) == 1)
end

local claims = {}
while #claims < parts do
  local account, turn = next_account(queue, tonumber(ARGV[8]))
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
  serve(queue, account, turn, rows, redis.call('LLEN', jobs) > 0)
end
if ARGV[7] == '1' and #messages == 0 and #claims == 0 then
  redis.call('ZREM', key('consumers', queue), worker)
end
return {messages, claims}
