-- What the scripts about sessions share. A session's record names the shares that it counts in, and its nonce.

-- It counts as used; what is known of it, or nothing.
local function use(id, ttl, now)
  local record = of('session', id)
  local known = redis.call('HMGET', record, 'opened', 'shop', 'shares', 'nonce')
  if not known[1] then return false end
  redis.call('PEXPIRE', record, ttl)
  if known[4] ~= '' then redis.call('PEXPIRE', known[4], ttl) end
  for share in string.gmatch(known[3], '[^\n]+') do
    redis.call('ZADD', share, now + ttl, id)
    -- An address that nobody comes from any more is forgotten.
    redis.call('PEXPIRE', share, ttl + 1000)
  end
  return { id, known[1], known[2] }
end

-- The same with its log, which nobody may be following: what its browser needs to come back.
local function touch(id, ttl)
  local log, used = log_of(id), use(id, ttl, now_ms())
  if not used then return false end
  for _, key in ipairs({ log.meta, log.entries, log.present }) do redis.call('PEXPIRE', key, ttl) end
  return used
end

local function drop(id)
  local record, log = of('session', id), log_of(id)
  local known = redis.call('HMGET', record, 'shares', 'nonce')
  for share in string.gmatch(known[1] or '', '[^\n]+') do redis.call('ZREM', share, id) end
  if known[2] and known[2] ~= '' then redis.call('DEL', known[2]) end
  redis.call('DEL', record, log.meta, log.entries, log.present)
  redis.call('PUBLISH', log.news, 'gone')
end
