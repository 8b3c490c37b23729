-- Names and moves of the scripts of the result cache. KEYS[1] is the prefix of all keys.
--
--   entries:{account}   hash    key of an entry -> "written expires bytes" (ms)
--   expiry:{account}    zset    key of an entry -> when it expires (ms)
--   ends                zset    account -> when its last entry expires (ms)
--   bytes               zset    account -> bytes of its entries
--   total               string  bytes of all accounts
--
-- The first two expire with the last entry of the account; the next put of any account corrects the
-- others.

local OVERHEAD = 180 -- bytes of one entry beside its data, measured by MEMORY USAGE

local function key(...) return KEYS[1] .. table.concat({...}, ':') end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function count(account, bytes)
  local left = tonumber(redis.call('ZINCRBY', key('bytes'), bytes, account))
  if left <= 0 then
    redis.call('ZREM', key('bytes'), account)
    redis.call('ZREM', key('ends'), account)
  end
  redis.call('INCRBY', key('total'), bytes)
end

-- Drops an entry; returns whether there was one.
local function drop(account, member)
  local size = redis.call('HSTRLEN', key('entries', account), member)
  if redis.call('HDEL', key('entries', account), member) == 0 then return false end
  redis.call('ZREM', key('expiry', account), member)
  count(account, -size - OVERHEAD)
  return true
end

-- Drops all that an account has, or had.
local function drop_account(account)
  redis.call('DEL', key('entries', account), key('expiry', account))
  local bytes = redis.call('ZSCORE', key('bytes'), account)
  if bytes then count(account, -tonumber(bytes)) end
end
