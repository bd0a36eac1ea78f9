-- For who has a lease. ARGV: tag, id, lease, what to do, bounds, milliseconds that what is left is kept, events.
-- Answers 1 when the lease was good, and then it was done: 'renew', 'report', 'finish', or 'release' to whoever is
-- next.
local tag, id, lease, deed = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local record, jobs = of(tag, 'job', id), tag .. ':jobs'
local job = redis.call('HMGET', record, 'state', 'lease', 'entry', 'worker', 'session')
if job[1] ~= 'running' or job[2] ~= lease then return 0 end
if deed == 'renew' then
  redis.call('XCLAIM', jobs, 'workers', job[4], 0, job[3], 'JUSTID')
elseif deed == 'release' then
  redis.call('HSET', record, 'state', 'waiting', 'lease', '')
  redis.call('HINCRBY', record, 'deliveries', -1)
  redis.call('XCLAIM', jobs, 'workers', 'nobody', 0, job[3], 'IDLE', 86400000, 'JUSTID')
  redis.call('PUBLISH', of(tag, 'jobs', 'news'), 'pushed')
else
  tell_all(tag, job[5], 7, bounds_of(ARGV[5]))
  if deed == 'finish' then
    finish(tag, id, ARGV[6])
    redis.call('PUBLISH', of(tag, 'jobs', 'news'), 'ended')
  end
end
return 1
