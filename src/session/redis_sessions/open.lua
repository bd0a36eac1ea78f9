-- ARGV: id, opened, shop, nonce's key or '', milliseconds to live, milliseconds until one is missed; then
-- for each share its key, its bound and its name.
-- Answers {id, opened, shop, 'resumed' or 'new'}, or {'full', the share's name}.
local id, nonce, ttl, missed = ARGV[1], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

local known = nonce ~= '' and redis.call('GET', nonce)
local back = known and touch(known, ttl)
if back then
  back[4] = 'resumed'
  return back
end

-- A search looks at so many at once and so often, and makes room for many openings.
local SEARCH, SEARCHES, PART = 64, 16, 64
local now, shares = now_ms(), {}
for i = 7, #ARGV, 3 do
  local share, bound = ARGV[i], tonumber(ARGV[i + 1])
  shares[#shares + 1] = share
  -- A little late, so that a record is gone before its place is.
  redis.call('ZREMRANGEBYSCORE', share, '-inf', now - 5)
  if redis.call('ZCARD', share) >= bound then
    local left = math.floor(bound / PART) + 1
    -- Nobody misses who has not been here for a while and never sent a photo.
    local kept, upto = 0, now + ttl - missed
    for _ = 1, SEARCHES do
      local others = redis.call('ZRANGEBYSCORE', share, '-inf', upto, 'LIMIT', kept, SEARCH)
      for _, other in ipairs(others) do
        if left > 0 and not redis.call('HGET', of('session', other), 'uploaded') then
          drop(other)
          redis.call('ZREM', share, other)
          left = left - 1
        else
          kept = kept + 1
        end
      end
      if left <= 0 or #others < SEARCH then break end
    end
    if redis.call('ZCARD', share) >= bound then return { 'full', ARGV[i + 2] } end
  end
end

local record = of('session', id)
redis.call('HSET', record, 'opened', ARGV[2], 'shop', ARGV[3], 'nonce', nonce, 'shares', table.concat(shares, '\n'))
if nonce ~= '' then redis.call('SET', nonce, id, 'PX', ttl) end
local opened = touch(id, ttl)
opened[4] = 'new'
return opened
