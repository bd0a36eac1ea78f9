-- What the scripts about sessions share. A session's record names the shares that it counts in, and its nonce.

-- What its browser needs to come back, or nothing. It counts as a use.
local function touch(id, ttl)
  local record, log = of('session', id), log_of(id)
  local known = redis.call('HMGET', record, 'opened', 'shop', 'shares', 'nonce')
  if not known[1] then return false end
  redis.call('PEXPIRE', record, ttl)
  if known[4] ~= '' then redis.call('PEXPIRE', known[4], ttl) end
  for _, key in ipairs({ log.meta, log.entries, log.present }) do redis.call('PEXPIRE', key, ttl) end
  for share in string.gmatch(known[3], '[^\n]+') do redis.call('ZADD', share, now_ms() + ttl, id) end
  return { id, known[1], known[2] }
end

local function drop(id)
  local record, log = of('session', id), log_of(id)
  local known = redis.call('HMGET', record, 'shares', 'nonce')
  for share in string.gmatch(known[1] or '', '[^\n]+') do redis.call('ZREM', share, id) end
  if known[2] and known[2] ~= '' then redis.call('DEL', known[2]) end
  redis.call('DEL', record, log.meta, log.entries, log.present)
  redis.call('PUBLISH', log.news, 'gone')
end
