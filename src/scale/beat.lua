-- A worker lives. ARGV: worker, what it says of itself, milliseconds since it last said so.
-- Answers {1 when it was known, phase, who leads the run, how many workers are wanted, how many are older than this}.
local now, worker = now_ms(), ARGV[1]
local known = redis.call('ZSCORE', heard, worker)
arrive(worker, now)
hear(worker, ARGV[2], now)
reap(now)
spend('gpu_ms', ARGV[3], now)
local said = redis.call('HMGET', pool, 'phase', 'lead', 'wanted', 'wanted_ms')
-- What no gateway has said for half a minute nobody wants.
local wanted = said[3] and now - tonumber(said[4]) < 30000 and said[3] or '0'
return { known and '1' or '0', said[1] or '', said[2] or '', wanted, tostring(redis.call('ZRANK', joined, worker)) }
