-- Sliding windows of requests and tokens, and leases of concurrent calls. KEYS[1] is the prefix.
--
--   log:{subject}:{class}     list    "step requests tokens" of the steps in the window, oldest first
--   sums:{subject}:{class}    hash    requests, tokens: sums of the log
--   calls:{subject}           zset    lease of a concurrent call -> when it expires (ms)
--   job:{job}                 string  "subject class step tokens" of a call that became a job
--
-- ARGV: now (ms; empty: the server's time), step (ms), steps of a window,
--       number of settlements, each: subject, class, step, tokens, lease,
--       and for an admission: subject, class, limits of requests, tokens and concurrent calls (-1:
--       none), requests, tokens, lease, time of the lease (ms), job (empty: none).
-- Returns {exceeded, requests, tokens, wait for requests, wait for tokens, reset (ms), step};
-- exceeded: 0 none, 1 requests, 2 tokens, 3 concurrency.

local STEP_MS, STEPS = tonumber(ARGV[2]), tonumber(ARGV[3])
local KEEP_MS = (STEPS + 2) * STEP_MS
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function key(...) return KEYS[1] .. table.concat({...}, ':') end

local function parse(entry)
  local step, requests, tokens = string.match(entry, '^(%d+) (%-?%d+) (%-?%d+)$')
  return tonumber(step), tonumber(requests), tonumber(tokens)
end

local function format(step, requests, tokens)
  return string.format('%d %d %d', step, requests, tokens)
end

local function settle(subject, class, step, tokens, lease)
  if lease ~= '' then redis.call('ZREM', key('calls', subject), lease) end
  if tokens == 0 then return end
  local log = key('log', subject, class)
  for place = -1, -redis.call('LLEN', log), -1 do -- calls end soon: their step is near the end
    local at, requests, before = parse(redis.call('LINDEX', log, place))
    if at == step then
      redis.call('LSET', log, place, format(at, requests, before + tokens))
      redis.call('HINCRBY', key('sums', subject, class), 'tokens', tokens)
      return
    elseif at < step then
      return
    end
  end
end

local next_argument = 5
for _ = 1, tonumber(ARGV[4]) do
  local subject, class, step, tokens, lease = unpack(ARGV, next_argument, next_argument + 4)
  settle(subject, class, tonumber(step), tonumber(tokens), lease)
  next_argument = next_argument + 5
end
if not ARGV[next_argument] then return {} end

local subject, class = unpack(ARGV, next_argument, next_argument + 1)
local max_requests, max_tokens, max_calls = unpack(ARGV, next_argument + 2, next_argument + 4)
local requests, tokens, lease, lease_ms, job = unpack(ARGV, next_argument + 5, next_argument + 9)
max_requests, max_tokens, max_calls = tonumber(max_requests), tonumber(max_tokens), tonumber(max_calls)
requests, tokens = tonumber(requests), tonumber(tokens)
if job ~= '' and redis.call('EXISTS', key('job', job)) == 1 then -- accepted again: it is counted
  requests, tokens = 0, 0
end
local log, sums = key('log', subject, class), key('sums', subject, class)

-- The step of this call: never before the last one, as the clock may be set back a little.
local step = math.floor(now / STEP_MS)
local newest = redis.call('LINDEX', log, -1)
local newest_step, newest_requests, newest_tokens
if newest then newest_step, newest_requests, newest_tokens = parse(newest) end
if newest and newest_step > step + STEPS then -- set back by more than a window
  redis.call('DEL', log, sums)
  newest = nil
elseif newest then
  step = math.max(step, newest_step)
end

-- When a step that was counted has left the window.
local function gone_at(counted) return (counted + STEPS + 1) * STEP_MS end

local oldest = redis.call('LINDEX', log, 0)
while oldest do
  local counted, gone_requests, gone_tokens = parse(oldest)
  if counted + STEPS >= step then break end
  redis.call('LPOP', log)
  redis.call('HINCRBY', sums, 'requests', -gone_requests)
  redis.call('HINCRBY', sums, 'tokens', -gone_tokens)
  oldest = redis.call('LINDEX', log, 0)
end
if not oldest then
  redis.call('DEL', sums)
  newest = nil
end

local counted = redis.call('HMGET', sums, 'requests', 'tokens')
local window_requests, window_tokens = tonumber(counted[1] or 0), tonumber(counted[2] or 0)

-- The time until so many requests and tokens have left the window.
local function wait_for(excess, column)
  if excess <= 0 then return 0 end
  for _, entry in ipairs(redis.call('LRANGE', log, 0, -1)) do
    local at, entry_requests, entry_tokens = parse(entry)
    excess = excess - (column == 'requests' and entry_requests or entry_tokens)
    if excess <= 0 then return math.max(1, gone_at(at) - now) end
  end
  return gone_at(step) - now -- more than the whole window
end

local exceeded, requests_wait, tokens_wait = 0, 0, 0
if max_tokens >= 0 and tokens > 0 then
  tokens_wait = wait_for(window_tokens + tokens - max_tokens, 'tokens')
  if tokens_wait > 0 then exceeded = 2 end
end
if max_requests >= 0 and requests > 0 then
  requests_wait = wait_for(window_requests + requests - max_requests, 'requests')
  if requests_wait > 0 then exceeded = 1 end
end
if exceeded == 0 and max_calls >= 0 then
  local calls = key('calls', subject)
  redis.call('ZREMRANGEBYSCORE', calls, '-inf', now)
  if redis.call('ZCARD', calls) >= max_calls then
    exceeded = 3
  else
    redis.call('ZADD', calls, now + tonumber(lease_ms), lease)
    if redis.call('PTTL', calls) < tonumber(lease_ms) then
      redis.call('PEXPIRE', calls, lease_ms)
    end
  end
end

if exceeded == 0 and requests + tokens > 0 and (max_requests >= 0 or max_tokens >= 0) then
  if newest and newest_step == step then
    redis.call('LSET', log, -1, format(step, newest_requests + requests, newest_tokens + tokens))
  else
    redis.call('RPUSH', log, format(step, requests, tokens))
  end
  window_requests = redis.call('HINCRBY', sums, 'requests', requests)
  window_tokens = redis.call('HINCRBY', sums, 'tokens', tokens)
  if not (newest and newest_step == step) then -- keys with a newer step live longer
    redis.call('PEXPIRE', log, KEEP_MS)
    redis.call('PEXPIRE', sums, KEEP_MS)
  end
  oldest = oldest or format(step, requests, tokens)
  if job ~= '' then
    redis.call('SET', key('job', job), table.concat({subject, class, step, tokens}, ' '), 'PX', KEEP_MS)
  end
end
local reset = oldest and math.max(1, gone_at((parse(oldest))) - now) or 0
return {exceeded, window_requests, window_tokens, requests_wait, tokens_wait, reset, step}
