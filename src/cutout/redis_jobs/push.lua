-- ARGV: id, session, upload, photo's bytes, options, cutout, shop, ms since it was accepted, ms since it was
-- received, limit, bounds of the session's log, then the event that says that the photo is here.
-- Answers 'pushed', 'known' or 'full'.
local id = ARGV[1]
local record = of('job', id)
if redis.call('EXISTS', record) == 1 then return 'known' end
if redis.call('XLEN', jobs) >= tonumber(ARGV[10]) then return 'full' end
tell_all(ARGV[2], 12, ARGV[11])
local now = now_ms()
local entry = redis.call('XADD', jobs, '*', 'job', id)
redis.call('HSET', record, 'session', ARGV[2], 'upload', ARGV[3], 'bytes', ARGV[4], 'options', ARGV[5],
  'cutout', ARGV[6], 'shop', ARGV[7], 'accepted', now - ARGV[8], 'received', now - ARGV[9],
  'state', 'waiting', 'entry', entry, 'queue', jobs)
note_upload(ARGV[2])
redis.call('PUBLISH', news, 'pushed')
return 'pushed'
