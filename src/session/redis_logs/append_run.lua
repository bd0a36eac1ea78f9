-- KEYS: run log's meta, the log, its present. ARGV: its channel, at_ms, JSON, subject, bounds.
local bounds = { tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]) }
local position = redis.call('HINCRBY', KEYS[1], 'position', 1)
append(KEYS[2], KEYS[1], KEYS[3], position .. '-0', ARGV[2], ARGV[3], ARGV[4], bounds)
redis.call('PUBLISH', ARGV[1], position)
return position
