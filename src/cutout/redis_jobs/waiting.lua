-- The jobs that wait, in order, each as id, upload, session. ARGV: tag, how many at most.
local tag, most = ARGV[1], tonumber(ARGV[2])
local waiting = {}
for _, entry in ipairs(redis.call('XRANGE', tag .. ':jobs', '-', '+', 'COUNT', most)) do
  local id = entry[2][2]
  local job = redis.call('HMGET', of(tag, 'job', id), 'state', 'upload', 'session')
  if job[1] == 'waiting' then waiting[#waiting + 1] = { id, job[2], job[3] } end
end
return waiting
