-- What every script may use. The first of its keys is what all names of the deployment begin with.
local tag = KEYS[1]

-- The one of a kind.
local function the(name)
  return tag .. ':' .. name
end

-- What belongs to one of many.
local function of(kind, id)
  return tag .. ':' .. kind .. ':' .. id
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
