-- KEYS: run log's meta, session's meta, its log, its present. ARGV: its channel, at_ms, JSON, subject, bounds.
local bounds = { tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]) }
return append_to_session(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3], ARGV[4], bounds)
