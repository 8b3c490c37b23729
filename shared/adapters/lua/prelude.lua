-- Names and moves that every ledger script uses. KEYS[1] is the prefix of all keys.
--
--   inline:{queue}            list    inline messages
--   accounts:{queue}          list    ring of accounts with ready tasks
--   jobs:{queue}:{account}    list    ring of the account's jobs with ready tasks
--   ready:{queue}:{job}       list    ready tasks of the job
--   job:{job}                 hash    record, account, queue, parts, abandoned, failure
--   tokens:{job}              hash    task -> token of its lease
--   attempts:{job}            hash    task -> claims so far
--   outcomes:{job}            hash    finished part -> what it said
--   leases, delayed           zset    "{job} {task}" -> when it expires, or is due (ms)
--   attending:{queue}         zset    worker -> until when it counts as attending (ms)
--   wake:{queue}              list    at most one token: an attending worker should look
--   rung:{queue}              string  a doorbell is on its way
--
-- A job is in a ring exactly while it has ready tasks there; an account while it has jobs.

local ATTEND_MS = 3000
local RUNG_MS = 500
local PER_ATTENDANT = 16
local MOST_BELLS = 8
local FINALISE = 'finalise'
local CONTROL = 'control'

local function key(...) return KEYS[1] .. table.concat({...}, ':') end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function backlog(queue)
  local count = redis.call('LLEN', key('inline', queue))
  for _, account in ipairs(redis.call('LRANGE', key('accounts', queue), 0, 99)) do
    count = count + redis.call('LLEN', key('jobs', queue, account))
  end
  return count
end

-- Takes the right to ring: not while a bell is on its way, nor while nobody hears those that
-- were rung (the broker's list has the queue's own name). 1 or 0.
local function may_ring(queue)
  if redis.call('LLEN', queue) >= MOST_BELLS then return 0 end
  return redis.call('SET', key('rung', queue), '1', 'NX', 'PX', RUNG_MS) and 1 or 0
end

-- Wakes who attends the queue; 1 when a doorbell must be rung.
local function summon(queue)
  local attending = key('attending', queue)
  redis.call('ZREMRANGEBYSCORE', attending, '-inf', now())
  local attendants = redis.call('ZCARD', attending)
  if attendants > 0 then
    local wake = key('wake', queue)
    if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
    if backlog(queue) <= attendants * PER_ATTENDANT then return 0 end
  end
  return may_ring(queue)
end

local function queue_of(job, task)
  return task == FINALISE and CONTROL or redis.call('HGET', key('job', job), 'queue')
end

-- `again`: the task was begun before, so it goes first; a killed job does not queue twice.
local function make_ready(job, task, again)
  local queue, account = queue_of(job, task), redis.call('HGET', key('job', job), 'account')
  if not queue or not account then return nil end
  local push = again and 'LPUSH' or 'RPUSH'
  if redis.call(push, key('ready', queue, job), task) == 1 then
    if redis.call(push, key('jobs', queue, account), job) == 1 then
      redis.call(push, key('accounts', queue), account)
    end
  end
  return queue
end

local function lease(job, task, token, ms)
  local attempt = redis.call('HINCRBY', key('attempts', job), task, 1)
  redis.call('HSET', key('tokens', job), task, token)
  redis.call('ZADD', key('leases'), now() + ms, job .. ' ' .. task)
  local fields = redis.call('HMGET', key('job', job), 'account', 'failure')
  return {job, fields[1] or '', task, attempt, token, fields[2] or ''}
end

local function holds(job, task, token)
  return redis.call('HGET', key('tokens', job), task) == token
end

local function let_go(job, task)
  redis.call('HDEL', key('tokens', job), task)
  redis.call('ZREM', key('leases'), job .. ' ' .. task)
end

-- Makes an abandoned job's end ready once nothing of it is leased; returns whether it did.
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
  if redis.call('DEL', key('ready', queue, job)) == 1 then
    redis.call('LREM', key('jobs', queue, account), 0, job)
    if redis.call('LLEN', key('jobs', queue, account)) == 0 then
      redis.call('LREM', key('accounts', queue), 0, account)
    end
  end
  for _, task in ipairs(redis.call('HKEYS', key('attempts', job))) do
    if task ~= FINALISE then redis.call('ZREM', key('delayed'), job .. ' ' .. task) end
  end
end
