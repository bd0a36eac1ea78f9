-- What the scripts about jobs share. A job's record says whose it is, what is wanted, and who has it.
-- Its entry in the stream of its queue, the second key, lives as long as it does.
local jobs = KEYS[2]
local news = jobs .. ':news'

-- Tells a session the events that begin at an argument, each as at_ms, JSON, subject; nobody is told where it has
-- expired.
local function tell_all(session, first, bounds)
  for i = first, #ARGV, 3 do append_to(session, ARGV[i], ARGV[i + 1], ARGV[i + 2], bounds_of(bounds)) end
end

-- Nobody's session is given up for another's once it has sent a photo.
local function note_upload(session)
  local record = of('session', session)
  if redis.call('EXISTS', record) == 1 then redis.call('HSET', record, 'uploaded', '1') end
end

-- Ends a job once. What is left of it says so to whoever asks, for a while.
local function finish(id, kept_ms, how)
  local record = of('job', id)
  -- Whoever ends it may know it from another queue.
  local found = redis.call('HMGET', record, 'entry', 'queue')
  local entry, queue = found[1], found[2]
  redis.call('HSET', record, 'state', 'ended')
  redis.call('PEXPIRE', record, kept_ms)
  redis.call('XACK', queue, 'workers', entry)
  redis.call('XDEL', queue, entry)
  redis.call('PUBLISH', queue .. ':news', 'ended ' .. id .. ' ' .. how)
end
