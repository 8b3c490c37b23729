-- ARGV: job, record, keep ms.
local job = ARGV[1]
abandon(job, '')
for _, task in ipairs(redis.call('HKEYS', key('tokens', job))) do let_go(job, task) end
redis.call('ZREM', key('delayed'), job .. ' ' .. FINALISE)
redis.call('DEL', key('tokens', job), key('attempts', job), key('outcomes', job), key('notes', job))
redis.call('DEL', key('job', job), key('samples', job))
redis.call('HSET', key('job', job), 'record', ARGV[2])
redis.call('PEXPIRE', key('job', job), ARGV[3])
local ended = key('ended', job)
if redis.call('LLEN', ended) == 0 then redis.call('RPUSH', ended, '1') end
redis.call('PEXPIRE', ended, 60000)
