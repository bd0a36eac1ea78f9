-- Tells of a run, for who leads it. ARGV: who leads it or '', run, the phase since then, the state, bounds of the run
-- log, then events as at_ms, JSON, subject. Answers 1 when it was told.
local known = redis.call('HMGET', pool, 'phase', 'run', 'lead')
if known[1] ~= 'warming' or known[2] ~= ARGV[2] or known[3] ~= ARGV[1] then return 0 end
for i = 6, #ARGV, 3 do append_to_run(ARGV[i], ARGV[i + 1], ARGV[i + 2], bounds_of(ARGV[5])) end
redis.call('HSET', pool, 'phase', ARGV[3], 'state', ARGV[4])
if ARGV[3] == 'failed' then redis.call('HSET', pool, 'failed_ms', now_ms()) end
if ARGV[3] ~= 'warming' then redis.call('HSET', pool, 'lead', '') end
say('told')
return 1
