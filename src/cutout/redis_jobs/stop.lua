-- Ends a job from outside. ARGV: tag, id, 'waiting' or 'any' state that it may be in, bounds, milliseconds that what
-- is left is kept, events. Answers 1 when it did.
local tag, id = ARGV[1], ARGV[2]
local job = redis.call('HMGET', of(tag, 'job', id), 'state', 'session')
if not job[1] or job[1] == 'ended' or (ARGV[3] == 'waiting' and job[1] ~= 'waiting') then return 0 end
tell_all(tag, job[2], 6, bounds_of(ARGV[4]))
finish(tag, id, ARGV[5])
redis.call('PUBLISH', of(tag, 'jobs', 'news'), 'stopped ' .. id)
return 1
