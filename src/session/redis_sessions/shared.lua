-- What the scripts about sessions share. A session's record names the shares that it counts in, and its nonce.

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function of(tag, kind, id)
  return tag .. ':' .. kind .. ':' .. id
end

local function log_of(tag, id)
  return { of(tag, 'log', id), of(tag, 'log:entries', id), of(tag, 'log:present', id) }
end

-- What its browser needs to come back, or nothing. It counts as a use.
local function touch(tag, id, ttl)
  local record = of(tag, 'session', id)
  local known = redis.call('HMGET', record, 'opened', 'shop', 'shares', 'nonce')
  if not known[1] then return false end
  redis.call('PEXPIRE', record, ttl)
  if known[4] ~= '' then redis.call('PEXPIRE', known[4], ttl) end
  for _, key in ipairs(log_of(tag, id)) do redis.call('PEXPIRE', key, ttl) end
  for share in string.gmatch(known[3], '[^\n]+') do redis.call('ZADD', share, now_ms() + ttl, id) end
  return { id, known[1], known[2] }
end

local function drop(tag, id)
  local record = of(tag, 'session', id)
  local known = redis.call('HMGET', record, 'shares', 'nonce')
  for share in string.gmatch(known[1] or '', '[^\n]+') do redis.call('ZREM', share, id) end
  if known[2] and known[2] ~= '' then redis.call('DEL', known[2]) end
  redis.call('DEL', record, unpack(log_of(tag, id)))
  redis.call('PUBLISH', of(tag, 'log:news', id), 'gone')
end
