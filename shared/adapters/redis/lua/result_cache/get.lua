-- ARGV: account, keys. Returns for each key {age in ms, ms until it expires, data}, or false.
local entries, at, found = key('entries', ARGV[1]), now(), {}
for index = 2, #ARGV do
  local value = redis.call('HGET', entries, ARGV[index])
  found[index - 1] = false
  if value then
    local written, expires, data = string.match(value, '^(%d+) (%d+) (.*)$')
    if at < tonumber(expires) then
      found[index - 1] = {math.max(0, at - written), expires - at, data}
    end
  end
end
return found
