-- Ends a job from outside. ARGV: id, 'waiting' or 'any' state that it may be in, bounds, milliseconds that what is
-- left is kept, how it ended, events. Answers 1 when it did.
local id = ARGV[1]
local job = redis.call('HMGET', of('job', id), 'state', 'session')
if not job[1] or job[1] == 'ended' or (ARGV[2] == 'waiting' and job[1] ~= 'waiting') then return 0 end
tell_all(job[2], 6, ARGV[3])
finish(id, ARGV[4], ARGV[5])
return 1
