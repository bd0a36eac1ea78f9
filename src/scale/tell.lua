-- Tells of a run, for who leads it. ARGV: who leads it or '', run, the phase since then, the state, bounds of the run
-- log, the number of what is told or 0, then events as at_ms, JSON, subject. Answers 1 when it was told.
local known = redis.call('HMGET', pool, 'phase', 'run', 'lead', 'told')
local told = ARGV[6] ~= '0' and ARGV[1] .. ' ' .. ARGV[6]
-- Who heard no answer says it again, perhaps after it has ended the run.
if told and known[2] == ARGV[2] and known[4] == told then return 1 end
if known[1] ~= 'warming' or known[2] ~= ARGV[2] or known[3] ~= ARGV[1] then return 0 end
if told then redis.call('HSET', pool, 'told', told) end
for i = 7, #ARGV, 3 do append_to_run(ARGV[i], ARGV[i + 1], ARGV[i + 2], bounds_of(ARGV[5])) end
redis.call('HSET', pool, 'phase', ARGV[3], 'state', ARGV[4])
if ARGV[3] == 'failed' then redis.call('HSET', pool, 'failed_ms', now_ms()) end
if ARGV[3] ~= 'warming' then redis.call('HSET', pool, 'lead', '') end
say('told')
return 1
