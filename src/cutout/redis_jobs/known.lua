-- A job whose cutout was made before: it ends where it begins, once. ARGV: id, session, upload, bounds, milliseconds
-- that what is left is kept, events. Answers 1 when it was told.
local id = ARGV[1]
local record = of('job', id)
if redis.call('EXISTS', record) == 1 then return 0 end
tell_all(ARGV[2], 6, ARGV[4])
redis.call('HSET', record, 'session', ARGV[2], 'upload', ARGV[3], 'state', 'ended')
redis.call('PEXPIRE', record, ARGV[5])
note_upload(ARGV[2])
return 1
