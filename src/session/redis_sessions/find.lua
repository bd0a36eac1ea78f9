-- ARGV: id, milliseconds to live, '1' once it has sent a photo.
local found = touch(ARGV[1], tonumber(ARGV[2]))
if found and ARGV[3] == '1' then redis.call('HSET', of('session', ARGV[1]), 'uploaded', '1') end
return found
