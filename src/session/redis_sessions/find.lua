-- ARGV: tag, id, milliseconds to live, '1' once it has sent a photo.
local found = touch(ARGV[1], ARGV[2], tonumber(ARGV[3]))
if found and ARGV[4] == '1' then redis.call('HSET', of(ARGV[1], 'session', ARGV[2]), 'uploaded', '1') end
return found
