-- Somebody wants the model. ARGV: who, '1' when a person asked, cooldown in milliseconds, wakes and milliseconds of
-- machines that a day may have for this, a new run, its state.
-- Answers {phase, state} as they are then, and 'known', 'begun', 'cooling' and milliseconds left, or 'spent', kind and
-- milliseconds left.
local now = now_ms()

local function answer(...)
  local said = redis.call('HMGET', pool, 'phase', 'state')
  return { said[1] or '', said[2] or '', ... }
end

reap(now)
local known = redis.call('HMGET', pool, 'phase', 'failed_ms')
if known[1] ~= 'warming' and known[1] ~= 'ready' then
  if known[1] == 'failed' and ARGV[2] ~= '1' then
    local left = tonumber(known[2]) + tonumber(ARGV[3]) - now
    if left > 0 then return answer('cooling', tostring(left)) end
  end
  local spent = redis.call('HMGET', budget_key(now), 'wakes', 'gpu_ms')
  local left = tostring(DAY - now % DAY)
  if tonumber(spent[1] or 0) >= tonumber(ARGV[4]) then return answer('spent', 'wakes', left) end
  if tonumber(spent[2] or 0) >= tonumber(ARGV[5]) then return answer('spent', 'GPU time', left) end
  begin(ARGV[6], ARGV[7], '', now)
  redis.call('ZADD', intents, now, ARGV[1])
  return answer('begun')
end
redis.call('ZADD', intents, now, ARGV[1])
return answer('known')
