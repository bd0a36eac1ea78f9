-- What the scripts about jobs share. A job's record says whose it is, what is wanted, and who has it.
-- Its entry in the stream lives as long as it does.

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function of(tag, kind, id)
  return tag .. ':' .. kind .. ':' .. id
end

-- Tells a session; nobody is told where it has expired.
local function tell(tag, session, at_ms, json, subject, bounds)
  return append_to_session(tag .. ':run', of(tag, 'log', session), of(tag, 'log:entries', session),
    of(tag, 'log:present', session), of(tag, 'log:news', session), at_ms, json, subject, bounds)
end

-- Tells the events that begin at an argument, each as at_ms, JSON, subject.
local function tell_all(tag, session, first, bounds)
  for i = first, #ARGV, 3 do tell(tag, session, ARGV[i], ARGV[i + 1], ARGV[i + 2], bounds) end
end

local function bounds_of(text)
  local bounds = {}
  for number in string.gmatch(text, '%d+') do bounds[#bounds + 1] = tonumber(number) end
  return bounds
end

-- Ends a job once. What is left of it says so to whoever asks, for a while.
local function finish(tag, id, kept_ms)
  local record = of(tag, 'job', id)
  local entry = redis.call('HGET', record, 'entry')
  redis.call('HSET', record, 'state', 'ended')
  redis.call('PEXPIRE', record, kept_ms)
  redis.call('XACK', tag .. ':jobs', 'workers', entry)
  redis.call('XDEL', tag .. ':jobs', entry)
end
