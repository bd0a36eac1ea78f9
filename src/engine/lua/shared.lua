-- What every script may use.

-- Drops the oldest entries of a log until it is within its bounds: `meta` counts its bytes and remembers the
-- newest entry that was dropped. An entry is {'t', milliseconds, 'e', JSON}.
local function trim(log, meta, entries, bytes, oldest_ms)
  local held = tonumber(redis.call('HGET', meta, 'bytes') or '0')
  while true do
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if not oldest then return end
    local fields = oldest[2]
    local fits = redis.call('XLEN', log) <= entries and held <= bytes and tonumber(fields[2]) >= oldest_ms
    if fits then return end
    held = held - #fields[4]
    redis.call('XDEL', log, oldest[1])
    redis.call('HSET', meta, 'bytes', held, 'dropped', oldest[1])
  end
end

-- Puts the last entry of each subject beside its log, for as many subjects as there may be.
local function remember(present, subject, id, at_ms, json, subjects)
  redis.call('HSET', present, subject, id .. ' ' .. at_ms .. ' ' .. json)
  if redis.call('HLEN', present) <= subjects then return end
  local oldest, run, entry
  local all = redis.call('HGETALL', present)
  for i = 1, #all, 2 do
    local r, e = string.match(all[i + 1], '^(%d+)-(%d+) ')
    r, e = tonumber(r), tonumber(e)
    if not oldest or r < run or (r == run and e < entry) then oldest, run, entry = all[i], r, e end
  end
  redis.call('HDEL', present, oldest)
end

-- Appends to a log whose next place is `id`. `bounds` are entries, bytes, milliseconds of age, subjects.
local function append(log, meta, present, id, at_ms, json, subject, bounds)
  redis.call('XADD', log, id, 't', at_ms, 'e', json)
  redis.call('HINCRBY', meta, 'bytes', #json)
  redis.call('HSET', meta, 'last', id)
  if subject ~= '' then remember(present, subject, id, at_ms, json, bounds[4]) end
  trim(log, meta, bounds[1], bounds[2], tonumber(at_ms) - bounds[3])
end

-- Appends to a session's log, and says so. The place of the run log's end is taken in the same step.
local function append_to_session(run, meta, log, present, channel, at_ms, json, subject, bounds)
  if redis.call('EXISTS', meta) == 0 then return false end
  local last = redis.call('HGET', run, 'position') or '0'
  local id = last .. '-' .. redis.call('HINCRBY', meta, 'entries', 1)
  append(log, meta, present, id, at_ms, json, subject, bounds)
  local left = redis.call('PTTL', meta)
  if left > 0 then
    redis.call('PEXPIRE', log, left)
    redis.call('PEXPIRE', present, left)
  end
  redis.call('PUBLISH', channel, id)
  return id
end
