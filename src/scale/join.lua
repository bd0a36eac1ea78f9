-- A worker that warms, or that is ready, asks for a run to lead. ARGV: worker, what it says of itself, '1' when it is
-- ready, a new run, its state.
-- Answers {'leads', state} of a run that began elsewhere, {'began'} the new one, or {'silent'}: there is nothing to
-- lead.
local now, worker = now_ms(), ARGV[1]
reap(now)
arrive(worker, now)
hear(worker, ARGV[2], now)
local known = redis.call('HMGET', pool, 'phase', 'lead', 'state')
if known[1] == 'ready' then return { 'silent' } end
if known[1] == 'warming' then
  if known[2] ~= '' and known[2] ~= worker and ARGV[3] ~= '1' then return { 'silent' } end
  redis.call('HSET', pool, 'lead', worker, 'told', '')
  return { 'leads', known[3] }
end
begin(ARGV[4], ARGV[5], worker, now)
return { 'began' }
