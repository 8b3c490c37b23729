-- Names and moves that every ledger script uses. KEYS[1] is the prefix of all keys.
--
--   queues                    set     queues where something waits, or did at the last reap
--   calls:{queue}:{account}   zset    numbers of inline messages, by their turn
--   messages                  hash    number -> inline message
--   numbers                   string  how many inline messages were numbered
--   accounts:{lane}           zset    accounts with ready work, by the virtual time of their turn
--   clock:{lane}              string  virtual time of the turn that was served last
--   served:{lane}             hash    account -> until when it was served, in virtual time
--   jobs:{queue}:{account}    list    ring of the account's jobs with ready tasks
--   ready:{queue}:{job}       list    ready tasks of the job
--   in_flight:{queue}         hash    account -> in-flight parts: those that are leased
--   job:{job}                 hash    record, account, queue, parts (made so far), planned,
--                                     planning (its `plan` is ready or leased), low, cost (rows of
--                                     a part), completed, failed (items), abandoned, failure
--   tokens:{job}              hash    task -> token of its lease
--   attempts:{job}            hash    task -> claims so far
--   notes:{job}               hash    task -> checkpoint for its next attempt
--   outcomes:{job}            hash    finished part -> its report
--   samples:{job}             list    "began ended items" (ms) of the seconds in which parts of a planned
--                                     job ended; "at at start" where work on it began or went on
--   leases, delayed           zset    "{job} {task}" -> when it expires, or is due (ms)
--   consumers:{queue}         zset    worker -> until when it counts as consumers (ms)
--   wake:{queue}              list    at most one token: a consumer should look
--   bell_debounce:{queue}     string  a doorbell is on its way
--
-- A job is in a ring exactly while it has ready tasks there; an account while it has jobs.
--
-- A queue has two lanes: of tasks, by the queue's own name, and of inline messages (`calls_of`). In
-- each, accounts are served by start-time fair queueing (Goyal, Vin, Cheng 1996): virtual time counts
-- the rows of parts and the bytes of messages, a claim moves its account on by them, and the account
-- that is furthest behind goes first. One that comes back does not get the time that it was away.
-- Within an account, a message of n bytes goes before messages that arrive once n more are claimed: a
-- short call does not wait for long ones, nor a long one for ever.

local ATTEND_MS = 3000
local RUNG_MS = 500
local PER_ATTENDANT = 16
local MOST_BELLS = 8
local SMALL_BYTES = 4096 -- messages of up to so many are of one size: they keep their order
local CLAIM_BYTES = 131072 -- a claim ends with the message that reaches it
local SAMPLE_MS = 1000
local MOST_SAMPLES = 64
local PAUSE_MS = 60000 -- without a held part: not slow work, but none
local FINALISE = 'finalise'
local PLAN = 'plan'
local CONTROL = 'control'

local function key(...) return KEYS[1] .. table.concat({...}, ':') end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function calls_of(queue) return queue .. '#calls' end

local function backlog(queue)
  local count = 0
  for _, account in ipairs(redis.call('ZRANGE', key('accounts', calls_of(queue)), 0, 99)) do
    count = count + redis.call('ZCARD', key('calls', queue, account))
  end
  for _, account in ipairs(redis.call('ZRANGE', key('accounts', queue), 0, 99)) do
    count = count + redis.call('LLEN', key('jobs', queue, account))
  end
  return count
end

-- Debounces doorbells: 1 if one may be rung, 0 while one is in flight or while unread ones wait
-- (the broker's list has the queue's own name).
local function may_ring(queue)
  if redis.call('LLEN', queue) >= MOST_BELLS then return 0 end
  return redis.call('SET', key('bell_debounce', queue), '1', 'NX', 'PX', RUNG_MS) and 1 or 0
end

-- Wakes a consumer of the queue; 1 if a doorbell must be rung.
local function notify_consumers(queue)
  local consumers = key('consumers', queue)
  redis.call('ZREMRANGEBYSCORE', consumers, '-inf', now())
  local attendants = redis.call('ZCARD', consumers)
  if attendants > 0 then
    local wake = key('wake', queue)
    if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
    if backlog(queue) <= attendants * PER_ATTENDANT then return 0 end
  end
  return may_ring(queue)
end

local function is_part(task) return task ~= FINALISE and task ~= PLAN end

local function queue_of(job, task)
  return is_part(task) and redis.call('HGET', key('job', job), 'queue') or CONTROL
end

-- The virtual time of an account in a lane.
local function place(lane, account)
  local clock = tonumber(redis.call('GET', key('clock', lane)) or 0)
  return math.max(clock, tonumber(redis.call('HGET', key('served', lane), account) or 0))
end

-- An account has work in the lane; `again`: of a kind that goes first.
local function enter(lane, account, again)
  local clock = tonumber(redis.call('GET', key('clock', lane)) or 0)
  redis.call('ZADD', key('accounts', lane), again and clock or place(lane, account), account)
end

-- An account has no more work in the lane; its state is dropped once no account has.
local function leave(lane, account)
  redis.call('ZREM', key('accounts', lane), account)
  if redis.call('EXISTS', key('accounts', lane)) == 0 then
    redis.call('DEL', key('clock', lane), key('served', lane))
  end
end

-- Advances an account by the amount of claimed work; `more`: whether it has more work.
local function serve(lane, account, turn, cost, more)
  redis.call('SET', key('clock', lane), turn)
  redis.call('HSET', key('served', lane), account, turn + cost)
  if more then
    redis.call('ZADD', key('accounts', lane), turn + cost, account)
  else
    leave(lane, account)
  end
end

-- `again`: the task was begun before, so it goes first; a killed job does not queue twice.
local function make_ready(job, task, again)
  local queue, account = queue_of(job, task), redis.call('HGET', key('job', job), 'account')
  if not queue or not account then return nil end
  local push = again and 'LPUSH' or 'RPUSH'
  redis.call('SADD', key('queues'), queue)
  if redis.call(push, key('ready', queue, job), task) == 1 then
    if redis.call(push, key('jobs', queue, account), job) == 1 then enter(queue, account, again) end
  end
  return queue
end

-- Removes a task from its queue that must not run any more.
local function withdraw(queue, account, job, task)
  local ready, jobs = key('ready', queue, job), key('jobs', queue, account)
  if task then redis.call('LREM', ready, 0, task) else redis.call('DEL', ready) end
  if redis.call('LLEN', ready) > 0 then return end
  redis.call('LREM', jobs, 0, job)
  if redis.call('LLEN', jobs) == 0 then leave(queue, account) end
end

local function fly(job, task, count)
  if not is_part(task) then return end
  local fields = redis.call('HMGET', key('job', job), 'queue', 'account')
  if not fields[1] or not fields[2] then return end
  local in_flight = key('in_flight', fields[1])
  if redis.call('HINCRBY', in_flight, fields[2], count) <= 0 then
    redis.call('HDEL', in_flight, fields[2])
  end
end

local function holds_parts(job)
  for _, task in ipairs(redis.call('HKEYS', key('tokens', job))) do
    if is_part(task) then return true end
  end
end

local function add_sample(job, began, ended, items)
  redis.call('RPUSH', key('samples', job), string.format('%d %d %s', began, ended, items))
  redis.call('LTRIM', key('samples', job), -MOST_SAMPLES, -1)
end

-- A part of a planned job is claimed: adds a sample if that ends a pause.
local function sample_start(job)
  local at, last = now(), redis.call('LINDEX', key('samples', job), -1)
  local ended = last and tonumber(string.match(last, '^%d+ (%d+)'))
  if ended and (at - ended <= PAUSE_MS or holds_parts(job)) then return end
  add_sample(job, at, at, 'start')
end

-- A part of a planned job has ended with items; those of one second form one sample.
local function sample_items(job, items)
  local at, last = now(), redis.call('LINDEX', key('samples', job), -1)
  if not last then return end
  local began, _, before = string.match(last, '^(%d+) (%d+) (%d+)$')
  if began and at - began < SAMPLE_MS then
    local sample = string.format('%d %d %d', began, at, before + items)
    redis.call('LSET', key('samples', job), -1, sample)
  else
    add_sample(job, at, at, items)
  end
end

local function lease(job, task, token, ms)
  if is_part(task) and redis.call('HEXISTS', key('job', job), 'low') == 1 then sample_start(job) end
  local attempt = redis.call('HINCRBY', key('attempts', job), task, 1)
  redis.call('HSET', key('tokens', job), task, token)
  redis.call('ZADD', key('leases'), now() + ms, job .. ' ' .. task)
  fly(job, task, 1)
  local fields = redis.call('HMGET', key('job', job), 'account', 'failure')
  local note = redis.call('HGET', key('notes', job), task)
  return {job, fields[1] or '', task, attempt, token, fields[2] or '', note or ''}
end

local function holds(job, task, token)
  return redis.call('HGET', key('tokens', job), task) == token
end

local function let_go(job, task)
  if redis.call('HDEL', key('tokens', job), task) == 1 then fly(job, task, -1) end
  redis.call('ZREM', key('leases'), job .. ' ' .. task)
end

-- Makes `plan` ready if few parts are left and more are to be cut.
local function replan(job)
  local fields = redis.call('HMGET', key('job', job), 'planned', 'planning', 'parts', 'low')
  if fields[1] == '1' or fields[2] == '1' then return end
  if fields[3] - redis.call('HLEN', key('outcomes', job)) > tonumber(fields[4] or 0) then return end
  redis.call('HSET', key('job', job), 'planning', '1')
  make_ready(job, PLAN)
  return true
end

-- Makes `finalise` of an aborted job ready once none of its tasks is leased; returns whether it did.
local function end_abandoned(job)
  if redis.call('HGET', key('job', job), 'abandoned') ~= '1' then return false end
  if redis.call('HLEN', key('tokens', job)) > 0 then return false end
  if redis.call('LLEN', key('ready', CONTROL, job)) > 0 then return false end
  make_ready(job, FINALISE)
  return true
end

local function abandon(job, failure)
  local job_key = key('job', job)
  local fields = redis.call('HMGET', job_key, 'queue', 'account')
  local queue, account = fields[1], fields[2]
  if not queue then return end
  redis.call('HSET', job_key, 'abandoned', '1')
  if failure ~= '' then redis.call('HSETNX', job_key, 'failure', failure) end
  withdraw(queue, account, job)
  withdraw(CONTROL, account, job, PLAN)
  for _, task in ipairs(redis.call('HKEYS', key('attempts', job))) do
    if task ~= FINALISE then redis.call('ZREM', key('delayed'), job .. ' ' .. task) end
  end
end
