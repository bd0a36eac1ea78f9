-- Tells of a job that hasn't ended, whoever has it. ARGV: tag, id, bounds, event. Answers 1 when it was told.
local tag, id = ARGV[1], ARGV[2]
local job = redis.call('HMGET', of(tag, 'job', id), 'state', 'session')
if not job[1] or job[1] == 'ended' then return 0 end
tell_all(tag, job[2], 4, bounds_of(ARGV[3]))
return 1
