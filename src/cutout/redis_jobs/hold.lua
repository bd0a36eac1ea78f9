-- For who has a lease. ARGV: id, lease, what to do, bounds, milliseconds that what is left is kept, how it
-- ended, events.
-- Answers 1 when the lease was good, and then it was done: 'renew', 'report', 'finish', or 'release' to whoever is
-- next.
local id, lease, deed = ARGV[1], ARGV[2], ARGV[3]
local record = of('job', id)
local job = redis.call('HMGET', record, 'state', 'lease', 'entry', 'session')
if job[1] ~= 'running' or job[2] ~= lease then return 0 end
if deed == 'renew' then
  redis.call('XCLAIM', jobs, 'workers', 'worker', 0, job[3], 'JUSTID')
elseif deed == 'release' then
  redis.call('HSET', record, 'state', 'waiting', 'lease', '')
  redis.call('HINCRBY', record, 'deliveries', -1)
  redis.call('XCLAIM', jobs, 'workers', 'worker', 0, job[3], 'IDLE', 86400000, 'JUSTID')
  redis.call('PUBLISH', news, 'pushed')
else
  tell_all(job[4], 7, ARGV[4])
  if deed == 'finish' then
    finish(id, ARGV[5], ARGV[6])
  end
end
return 1
