-- Tells a waiting job of its place, unless it is told already, or was told of another place a moment ago.
-- ARGV: tag, id, what is told as "status place", milliseconds of a moment, bounds, event.
local tag, id = ARGV[1], ARGV[2]
local record = of(tag, 'job', id)
local job = redis.call('HMGET', record, 'state', 'told', 'told_ms', 'session')
if job[1] ~= 'waiting' or job[2] == ARGV[3] then return 0 end
local now, status = now_ms(), string.match(ARGV[3], '^%a+')
if job[2] and string.match(job[2], '^%a+') == status and now - tonumber(job[3]) < tonumber(ARGV[4]) then return 0 end
redis.call('HSET', record, 'told', ARGV[3], 'told_ms', now)
tell_all(tag, job[4], 6, bounds_of(ARGV[5]))
return 1
