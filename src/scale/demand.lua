-- What is wanted and what there is. ARGV: gateway or '', milliseconds that it keeps the machines for all gateways,
-- milliseconds that an intent counts for, milliseconds that a launch may take.
-- Answers {'1' when this gateway keeps them, phase, run, lead, state, sessions that wait, jobs, launches under way,
-- wakes and milliseconds of machines today, launches that were given up, all sessions, launches that have come up
-- since the beginning, then what each worker says}.
local now = now_ms()
reap(now)
local keeper = of('pool', 'keeper')
local keeps = redis.call('GET', keeper)
if ARGV[1] ~= '' and (not keeps or keeps == ARGV[1]) then
  redis.call('SET', keeper, ARGV[1], 'PX', ARGV[2])
  keeps = ARGV[1]
end
local known = redis.call('HMGET', pool, 'phase', 'run', 'lead', 'state', 'begun_ms')
-- Who came while the model warmed waits until it is ready, however long that takes.
local since = now - ARGV[3]
if known[1] == 'warming' then since = math.min(since, tonumber(known[5])) end
redis.call('ZREMRANGEBYSCORE', intents, '-inf', '(' .. since)
-- Who merely looks changes nothing.
local stalled = keeps == ARGV[1] and redis.call('ZREMRANGEBYSCORE', launches, '-inf', now - ARGV[4]) or 0
local spent = redis.call('HMGET', budget_key(now), 'wakes', 'gpu_ms')
local answer = { keeps == ARGV[1] and '1' or '0', known[1] or '', known[2] or '', known[3] or '', known[4] or '',
  tostring(redis.call('ZCARD', intents)), tostring(redis.call('XLEN', the('jobs'))),
  tostring(redis.call('ZCARD', launches)), spent[1] or '0', spent[2] or '0', tostring(stalled), tostring(redis.call('ZCARD', the('sessions'))),
  redis.call('HGET', pool, 'arrived') or '0' }
for _, said in ipairs(redis.call('HVALS', workers)) do answer[#answer + 1] = said end
return answer
