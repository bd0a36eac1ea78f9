-- Sessions that somebody holds count as used. ARGV: milliseconds to live, then for each its id, and '1' once it has
-- sent a photo. Answers those that are gone.
local ttl, now, gone = tonumber(ARGV[1]), now_ms(), {}
for i = 2, #ARGV, 2 do
  if not use(ARGV[i], ttl, now) then
    gone[#gone + 1] = ARGV[i]
    -- Redis may have lost it without a word.
    redis.call('PUBLISH', log_of(ARGV[i]).news, 'gone')
  elseif ARGV[i + 1] == '1' then
    redis.call('HSET', of('session', ARGV[i]), 'uploaded', '1')
  end
end
return gone
