-- A machine is about to be woken. ARGV: the launch. Counts as one of today's wakes.
local now = now_ms()
redis.call('ZADD', launches, now, ARGV[1])
spend('wakes', 1, now)
return 1
