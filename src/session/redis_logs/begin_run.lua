-- KEYS: run log's meta, its present. ARGV: its channel.
local start = tonumber(redis.call('HGET', KEYS[1], 'position') or '0') + 1
redis.call('HSET', KEYS[1], 'start', start)
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[1], 'begun')
return start
