-- ARGV: session, milliseconds to live.
local log = log_of(ARGV[1])
redis.call('HSETNX', log.meta, 'run_from', redis.call('HGET', run_log.meta, 'start') or '1')
for _, key in ipairs({ log.meta, log.entries, log.present }) do redis.call('PEXPIRE', key, ARGV[2]) end
return 1
