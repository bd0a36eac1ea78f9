-- What scripts that write to logs share. Of a log there are: what is known of it, its entries, the last entry of
-- each subject, and the channel that says that there is news. `LogKeys` names the same.
local function log_of(session)
  return { meta = of('log', session), entries = of('log:entries', session), present = of('log:present', session),
    news = of('log:news', session) }
end

local run_log = { meta = the('run'), entries = the('run:log'), present = the('run:present'), news = the('run:news') }

-- Entries, bytes, milliseconds of age, subjects.
local function bounds_of(text)
  local bounds = {}
  for number in string.gmatch(text, '%d+') do bounds[#bounds + 1] = tonumber(number) end
  return bounds
end

-- Drops the oldest entries until the log is within its bounds: what is known of it counts its bytes and remembers
-- the newest entry that was dropped. An entry is {'t', milliseconds, 'e', JSON}.
local function trim(log, entries, bytes, oldest_ms)
  local held = tonumber(redis.call('HGET', log.meta, 'bytes') or '0')
  while true do
    local oldest = redis.call('XRANGE', log.entries, '-', '+', 'COUNT', 1)[1]
    if not oldest then return end
    local fields = oldest[2]
    local fits = redis.call('XLEN', log.entries) <= entries and held <= bytes and tonumber(fields[2]) >= oldest_ms
    if fits then return end
    held = held - #fields[4]
    redis.call('XDEL', log.entries, oldest[1])
    redis.call('HSET', log.meta, 'bytes', held, 'dropped', oldest[1])
  end
end

-- Puts the last entry of each subject beside its log, for as many subjects as there may be.
local function remember(log, subject, id, at_ms, json, subjects)
  redis.call('HSET', log.present, subject, id .. ' ' .. at_ms .. ' ' .. json)
  if redis.call('HLEN', log.present) <= subjects then return end
  local oldest, run, entry
  local all = redis.call('HGETALL', log.present)
  for i = 1, #all, 2 do
    local r, e = string.match(all[i + 1], '^(%d+)-(%d+) ')
    r, e = tonumber(r), tonumber(e)
    if not oldest or r < run or (r == run and e < entry) then oldest, run, entry = all[i], r, e end
  end
  redis.call('HDEL', log.present, oldest)
end

-- Appends to a log whose next place is `id`.
local function append(log, id, at_ms, json, subject, bounds)
  redis.call('XADD', log.entries, id, 't', at_ms, 'e', json)
  redis.call('HINCRBY', log.meta, 'bytes', #json)
  redis.call('HSET', log.meta, 'last', id)
  if subject ~= '' then remember(log, subject, id, at_ms, json, bounds[4]) end
  trim(log, bounds[1], bounds[2], tonumber(at_ms) - bounds[3])
end

-- Appends to a session's log, and says so; false where it has expired. The place of the run log's end is taken in
-- the same step.
local function append_to(session, at_ms, json, subject, bounds)
  local log = log_of(session)
  if redis.call('EXISTS', log.meta) == 0 then return false end
  local last = redis.call('HGET', run_log.meta, 'position') or '0'
  local id = last .. '-' .. redis.call('HINCRBY', log.meta, 'entries', 1)
  append(log, id, at_ms, json, subject, bounds)
  local left = redis.call('PTTL', log.meta)
  if left > 0 then
    redis.call('PEXPIRE', log.entries, left)
    redis.call('PEXPIRE', log.present, left)
  end
  redis.call('PUBLISH', log.news, id)
  return id
end

-- Appends to the run log, and says so.
local function append_to_run(at_ms, json, subject, bounds)
  local position = redis.call('HINCRBY', run_log.meta, 'position', 1)
  append(run_log, position .. '-0', at_ms, json, subject, bounds)
  redis.call('PUBLISH', run_log.news, position)
  return position
end

-- Sessions that begin from now on see nothing of the run log before this.
local function begin_run()
  local start = tonumber(redis.call('HGET', run_log.meta, 'position') or '0') + 1
  redis.call('HSET', run_log.meta, 'start', start)
  redis.call('DEL', run_log.present)
  redis.call('PUBLISH', run_log.news, 'begun')
  return start
end
