-- ARGV: job, token, first, parts, last, low, cost, then for each finished part: number, outcome,
-- completed, failed. Returns -1 when lost, else whether to ring the job's queue.
local job = ARGV[1]
local job_key = key('job', job)
if not holds(job, PLAN, ARGV[2]) then return -1 end
local fields = redis.call('HMGET', job_key, 'parts', 'queue', 'abandoned')
local made, first, count = tonumber(fields[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
if fields[3] == '1' then return 0 end
local done = {}
for index = 8, #ARGV, 4 do
  local part = tonumber(ARGV[index])
  if part >= made then
    done[part] = true
    redis.call('HSET', key('outcomes', job), 'part:' .. part, ARGV[index + 1])
    redis.call('HINCRBY', job_key, 'completed', ARGV[index + 2])
    redis.call('HINCRBY', job_key, 'failed', ARGV[index + 3])
  end
end
for part = math.max(first, made), first + count - 1 do
  if not done[part] then make_ready(job, 'part:' .. part) end
end
redis.call('HSET', job_key, 'parts', math.max(made, first + count),
  'planned', ARGV[5], 'low', ARGV[6], 'cost', ARGV[7])
return notify_consumers(fields[2])
