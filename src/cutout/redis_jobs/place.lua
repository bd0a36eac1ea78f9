-- Tells a waiting job of its place, unless it is told already, or was told of another place a moment ago.
-- ARGV: id, what is told as "status place", milliseconds of a moment, bounds, event.
local record, place = of('job', ARGV[1]), ARGV[2]
local job = redis.call('HMGET', record, 'state', 'told', 'told_ms', 'session')
if job[1] ~= 'waiting' or job[2] == place then return 0 end
local now, status = now_ms(), string.match(place, '^%a+')
if job[2] and string.match(job[2], '^%a+') == status and now - tonumber(job[3]) < tonumber(ARGV[3]) then return 0 end
redis.call('HSET', record, 'told', place, 'told_ms', now)
tell_all(job[4], 5, ARGV[4])
return 1
