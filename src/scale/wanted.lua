-- For workers to know how many are wanted. ARGV: how many.
redis.call('HSET', pool, 'wanted', ARGV[1], 'wanted_ms', now_ms())
return 1
