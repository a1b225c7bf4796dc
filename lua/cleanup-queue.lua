-- cleanup-queue: give a claim back; what it leaves behind, here or where it was moved, is queued first.
-- WHY Lua:  the claim may have passed to another flush; only the lease on the receipt may end it.
-- SLOT:     {SHARD}
-- KEYS[1]   queue   zset  member -> deadline ms
-- KEYS[2]   claims  zset  member -> end of lease us
-- ARGV[1]   member   ARGV[2] end of lease us   ARGV[3] member that holds something still, or ''
-- ARGV[4]   deadline for that one ms           ARGV[5] TTL ms
-- RETURNS   {claims ended, entries queued}
-- COST      O(log entries)
local queued = 0
if ARGV[3] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[5]) -- first, for a full Redis refuses a script whose first write needs memory
  queued = redis.call('ZADD', KEYS[1], 'NX', ARGV[4], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[5]) -- again, for before there may have been no queue
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if lease and tonumber(lease) == tonumber(ARGV[2]) then return {redis.call('ZREM', KEYS[2], ARGV[1]), queued} end
return {0, queued}
