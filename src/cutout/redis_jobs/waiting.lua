-- The jobs that wait, in order, each as id, upload, session. One whose lease is lost waits again: who had it can't end
-- it any more. ARGV: how many at most, milliseconds after which a lease that isn't renewed is lost.
local most = tonumber(ARGV[1])
local lost = {}
local pending = redis.pcall('XPENDING', jobs, 'workers', 'IDLE', ARGV[2], '-', '+', most)
if not pending.err then
  for _, entry in ipairs(pending) do lost[entry[1]] = true end
end
local waiting = {}
for _, entry in ipairs(redis.call('XRANGE', jobs, '-', '+', 'COUNT', most)) do
  local id = entry[2][2]
  local record = of('job', id)
  local job = redis.call('HMGET', record, 'state', 'upload', 'session')
  if job[1] == 'running' and lost[entry[1]] then
    redis.call('HSET', record, 'state', 'waiting', 'lease', '')
    job[1] = 'waiting'
  end
  if job[1] == 'waiting' then waiting[#waiting + 1] = { id, job[2], job[3] } end
end
return waiting
