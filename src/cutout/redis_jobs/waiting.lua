-- The jobs that wait, in order, each as id, upload, session. ARGV: how many at most.
local most = tonumber(ARGV[1])
local waiting = {}
for _, entry in ipairs(redis.call('XRANGE', jobs, '-', '+', 'COUNT', most)) do
  local id = entry[2][2]
  local job = redis.call('HMGET', of('job', id), 'state', 'upload', 'session')
  if job[1] == 'waiting' then waiting[#waiting + 1] = { id, job[2], job[3] } end
end
return waiting
