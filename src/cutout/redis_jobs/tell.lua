-- Tells of a job that hasn't ended, whoever has it. ARGV: id, bounds, event. Answers 1 when it was told.
local job = redis.call('HMGET', of('job', ARGV[1]), 'state', 'session')
if not job[1] or job[1] == 'ended' then return 0 end
tell_all(job[2], 3, ARGV[2])
return 1
