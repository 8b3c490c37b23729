-- ARGV: account, time to live in ms, bound in bytes, then keys and data in turn.
local account, ttl, bound, at = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), now()
local entries, expiry = key('entries', account), key('expiry', account)
for _, ended in ipairs(redis.call('ZRANGE', key('ends'), '-inf', at, 'BYSCORE')) do
  drop_account(ended)
end
if redis.call('EXISTS', entries) == 0 then drop_account(account) end
for index = 4, #ARGV, 2 do
  local member, data = ARGV[index], ARGV[index + 1]
  drop(account, member)
  local value = string.format('%d %d ', at, at + ttl) .. data
  redis.call('HSET', entries, member, value)
  redis.call('ZADD', expiry, at + ttl, member)
  count(account, #value + OVERHEAD)
end
local keep = math.max(ttl, redis.call('PTTL', entries))
redis.call('PEXPIRE', entries, keep)
redis.call('PEXPIRE', expiry, keep)
redis.call('ZADD', key('ends'), 'GT', at + keep, account)

for _, member in ipairs(redis.call('ZRANGE', expiry, '-inf', at, 'BYSCORE', 'LIMIT', 0, 1000)) do
  drop(account, member)
end
while tonumber(redis.call('GET', key('total'))) > bound do
  local largest = redis.call('ZRANGE', key('bytes'), 0, 0, 'REV')[1]
  if not largest then break end
  local oldest = redis.call('ZRANGE', key('expiry', largest), 0, 0)[1]
  if not oldest or not drop(largest, oldest) then drop_account(largest) end
end
