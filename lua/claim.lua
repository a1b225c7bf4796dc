-- claim: take the due segments of one shard, and those whose lease has run out, for one flush.
-- WHY Lua:  leaving the queue and entering the claims must be one step, or a crash in between strands a segment.
-- SLOT:     {SHARD}
-- KEYS[1]   queue   zset  member -> deadline ms
-- KEYS[2]   claims  zset  member -> end of lease us
-- ARGV[1]   due by ms: now, or behind it by the lag of the ingest queue
-- ARGV[2]   now us   ARGV[3] end of the new lease us   ARGV[4] limit   ARGV[5] TTL ms
-- RETURNS   {member, deadline ms, member, deadline ms, ...}; the deadline of a lapsed claim is its old lease's end
-- COST      O(limit * log entries)
local queue, claims, lease, limit = KEYS[1], KEYS[2], ARGV[3], tonumber(ARGV[4])

local taken, reply = {}, {}
local lapsed = redis.call('ZRANGEBYSCORE', claims, '-inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, limit)
for i = 1, #lapsed, 2 do
  taken[lapsed[i]] = true
  reply[#reply + 1] = lapsed[i]
  reply[#reply + 1] = string.format('%.0f', tonumber(lapsed[i + 1]) / 1000)
end
local due = redis.call('ZRANGEBYSCORE', queue, '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, limit - #lapsed / 2)
local alive, waiting = {}, {}
for from = 1, #due, 4000 do
  local members = {}
  for i = from, math.min(from + 3999, #due), 2 do members[#members + 1] = due[i] end
  for i, score in ipairs(redis.call('ZMSCORE', claims, unpack(members))) do
    if score and tonumber(score) > tonumber(ARGV[2]) then alive[members[i]] = score end
  end
end
for i = 1, #due, 2 do
  local member = due[i]
  if alive[member] then
    waiting[#waiting + 1] = string.format('%.0f', math.ceil(tonumber(alive[member]) / 1000))
    waiting[#waiting + 1] = member
  elseif not taken[member] then
    taken[member] = true
    reply[#reply + 1] = member
    reply[#reply + 1] = due[i + 1]
  end
end

local entries = {}
for member in pairs(taken) do
  entries[#entries + 1] = lease
  entries[#entries + 1] = member
end
if #entries > 0 then
  redis.call('PEXPIRE', claims, ARGV[5]) -- first, for a full Redis refuses a script whose first write needs memory
  for from = 1, #entries, 4000 do
    redis.call('ZADD', claims, unpack(entries, from, math.min(from + 3999, #entries)))
  end
  redis.call('PEXPIRE', claims, ARGV[5])
end
local gone, again = {}, {}
for i = 1, #due, 2 do
  if taken[due[i]] then gone[#gone + 1] = due[i] end
end
for i = 1, #lapsed, 2 do again[#again + 1] = lapsed[i] end
for from = 1, #again, 4000 do -- what has come to a lapsed one goes along, if it is due
  for i, score in ipairs(redis.call('ZMSCORE', queue, unpack(again, from, math.min(from + 3999, #again)))) do
    if score and tonumber(score) <= tonumber(ARGV[1]) then gone[#gone + 1] = again[from + i - 1] end
  end
end
for from = 1, #gone, 4000 do redis.call('ZREM', queue, unpack(gone, from, math.min(from + 3999, #gone))) end
for from = 1, #waiting, 4000 do
  redis.call('ZADD', queue, 'XX', unpack(waiting, from, math.min(from + 3999, #waiting)))
end
return reply
