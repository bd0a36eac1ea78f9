-- What the scripts about the pool share. `pool` says where the model is, which run is under way and who leads it: a
-- worker, or nobody yet, which is the container stage's time. Of each worker there are: what it said last, when it
-- joined, when it was heard of last.
local pool, news = the('pool'), of('pool', 'news')
local workers, joined, heard = of('pool', 'workers'), of('pool', 'joined'), of('pool', 'heard')
local intents, launches = of('pool', 'intents'), of('pool', 'launches')

local DAY = 86400000
-- A worker says that it lives every two seconds; four times may be lost.
local LOST = 10000

local function budget_key(now)
  return of('budget', math.floor(now / DAY))
end

local function spend(kind, amount, now)
  redis.call('HINCRBY', budget_key(now), kind, amount)
  redis.call('PEXPIRE', budget_key(now), 2 * DAY)
end

local function say(word)
  redis.call('PUBLISH', news, word)
end

-- A worker is there, and was not before: a machine that was woken has come up.
local function arrive(worker, now)
  if redis.call('ZADD', joined, 'NX', now, worker) == 0 then return end
  if #redis.call('ZPOPMIN', launches) > 0 then redis.call('HINCRBY', pool, 'arrived', 1) end
end

-- The weights that a worker says it has ready.
local function weights_of(said)
  local weights = said and cjson.decode(said).weights
  return weights and weights ~= cjson.null and weights or ''
end

-- What a worker says of itself. With which weights cutouts are made now, gateways must not hear late.
local function hear(worker, said, now)
  local before = redis.call('HGET', workers, worker)
  redis.call('ZADD', heard, now, worker)
  redis.call('HSET', workers, worker, said)
  if weights_of(before) ~= weights_of(said) then say('weights') end
end

local function forget(worker)
  local before = redis.call('HGET', workers, worker)
  redis.call('ZREM', heard, worker)
  redis.call('ZREM', joined, worker)
  redis.call('HDEL', workers, worker)
  if weights_of(before) ~= '' then say('weights') end
  if redis.call('HGET', pool, 'lead') == worker then
    redis.call('HSET', pool, 'lead', '')
    say('led by nobody')
  end
end

local function ready_workers()
  local ready = 0
  for _, said in ipairs(redis.call('HVALS', workers)) do
    if cjson.decode(said).phase == 'ready' then ready = ready + 1 end
  end
  return ready
end

-- After workers have gone: without one that is ready, who opens a session isn't told of the last run.
local function settle()
  if redis.call('HGET', pool, 'phase') ~= 'ready' or ready_workers() > 0 then return end
  redis.call('HSET', pool, 'phase', 'cold')
  begin_run()
  say('cold')
end

-- Workers that died without a word. Where nobody has looked for a while Redis was away, and whoever lives could say
-- nothing.
local function reap(now)
  local looked = tonumber(redis.call('HGET', pool, 'looked_ms') or now)
  redis.call('HSET', pool, 'looked_ms', now)
  if now - looked > LOST / 2 then
    for _, worker in ipairs(redis.call('ZRANGE', heard, 0, -1)) do redis.call('ZADD', heard, now, worker) end
  end
  local lost = redis.call('ZRANGEBYSCORE', heard, '-inf', now - LOST)
  for _, worker in ipairs(lost) do forget(worker) end
  if #lost > 0 then settle() end
end

-- A new run, led by a worker or by nobody yet.
local function begin(run, state, lead, now)
  redis.call('HSET', pool, 'phase', 'warming', 'run', run, 'state', state, 'lead', lead, 'begun_ms', now, 'told', '')
  begin_run()
  say('begun')
end
