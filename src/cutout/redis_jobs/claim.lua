-- ARGV: milliseconds after which a lease that isn't renewed is lost.
-- Answers {id, lease, deliveries, session, upload, bytes, options, cutout, shop, ms since it was accepted, ms since
-- it was received}, or nothing.
-- All workers are one consumer: their leases tell them apart.
local worker, lost = 'worker', ARGV[1]

-- One whose lease is lost. Redis looks at a few at a time, and many that live may come before it.
local function lost_one()
  local cursor = '0-0'
  repeat
    local answer = redis.pcall('XAUTOCLAIM', jobs, 'workers', worker, lost, cursor, 'COUNT', 1)
    if answer.err then
      -- The first claim of all.
      redis.call('XGROUP', 'CREATE', jobs, 'workers', '0')
      return nil
    end
    if answer[2][1] then return answer[2][1] end
    cursor = answer[1]
  until cursor == '0-0'
end

if redis.call('EXISTS', jobs) == 0 then return false end
while true do
  -- Those of workers that died first: they have waited longest.
  local found = lost_one()
  if not found then
    local read = redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', 1, 'STREAMS', jobs, '>')
    found = read and read[1] and read[1][2][1]
  end
  if not found then return false end
  local id = found[2][2]
  local record = of('job', id)
  local job = redis.call('HMGET', record, 'session', 'upload', 'bytes', 'options', 'cutout', 'shop', 'accepted',
    'received', 'state')
  if not job[1] or job[9] == 'ended' then
    redis.call('XACK', jobs, 'workers', found[1])
    redis.call('XDEL', jobs, found[1])
  else
    local lease = redis.call('INCR', of('jobs', 'leases'))
    local deliveries = redis.call('HINCRBY', record, 'deliveries', 1)
    if deliveries > 1 then redis.call('PUBLISH', news, 'redelivered') end
    redis.call('HSET', record, 'state', 'running', 'lease', lease)
    local now = now_ms()
    return { id, tostring(lease), tostring(deliveries), job[1], job[2], job[3], job[4], job[5], job[6],
      tostring(now - job[7]), tostring(now - job[8]) }
  end
end
