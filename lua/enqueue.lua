-- enqueue: set the deadlines of segments; then take out the entries of those that have joined one of them.
-- WHY Lua:  a full Redis refuses the ZADD and not the ZREM: an entry may go only when the one it makes way for is there.
-- SLOT:     {SHARD}, of every shard in the call: in a cluster a call has one
-- KEYS[1]   queue   zset  member -> deadline ms
--           the same for each further shard
-- ARGV[1]   TTL ms
-- ARGV[2]   latest deadline ms of an entry that may go: a later one is of a segment that came to be anew
-- ARGV[3..] of each shard: entries, joined; then deadline ms and member of each of these entries; then the joined members
-- RETURNS   entries taken out
-- COST      O(entries * log queue)
local SLICE = 4000 -- unpack fails at 8,000
local latest, at, gone = tonumber(ARGV[2]), 3, 0
for _, queue in ipairs(KEYS) do
  local entries, joined = 2 * ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for from = at, at + entries - 1, SLICE do
    redis.call('ZADD', queue, unpack(ARGV, from, math.min(from + SLICE, at + entries) - 1))
  end
  at = at + entries
  for i = at, at + joined - 1 do
    local deadline = redis.call('ZSCORE', queue, ARGV[i])
    if deadline and tonumber(deadline) <= latest then gone = gone + redis.call('ZREM', queue, ARGV[i]) end
  end
  at = at + joined
  redis.call('PEXPIRE', queue, ARGV[1])
end
return gone
