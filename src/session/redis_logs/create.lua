-- KEYS: run log's meta, session's meta, its log, its present. ARGV: milliseconds to live.
redis.call('HSETNX', KEYS[2], 'run_from', redis.call('HGET', KEYS[1], 'start') or '1')
for i = 2, 4 do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
return 1
