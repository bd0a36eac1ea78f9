-- ARGV: tag, id, session, upload, photo's bytes, options, cutout, shop, ms since it was accepted, ms since it was
-- received, limit, bounds of the session's log, then the event that says that the photo is here.
-- Answers 'pushed', 'known' or 'full'.
local tag, id = ARGV[1], ARGV[2]
local record, jobs = of(tag, 'job', id), tag .. ':jobs'
if redis.call('EXISTS', record) == 1 then return 'known' end
if redis.call('XLEN', jobs) >= tonumber(ARGV[11]) then return 'full' end
tell_all(tag, ARGV[3], 13, bounds_of(ARGV[12]))
local now = now_ms()
local entry = redis.call('XADD', jobs, '*', 'job', id)
redis.call('HSET', record, 'session', ARGV[3], 'upload', ARGV[4], 'bytes', ARGV[5], 'options', ARGV[6],
  'cutout', ARGV[7], 'shop', ARGV[8], 'accepted', now - ARGV[9], 'received', now - ARGV[10],
  'state', 'waiting', 'entry', entry)
redis.call('PUBLISH', of(tag, 'jobs', 'news'), 'pushed')
return 'pushed'
