-- requeue: queue a segment that is neither queued nor claimed.
-- WHY Lua:  a claim moves entries between the two; only one look at both tells an orphan from a segment on its way.
-- SLOT:     {SHARD}
-- KEYS[1]   queue   zset  member -> deadline ms
-- KEYS[2]   claims  zset  member -> end of lease us
-- ARGV[1]   member   ARGV[2] deadline ms   ARGV[3] TTL ms
-- RETURNS   1 when it was queued, 0 when it was in one of them
-- COST      O(log entries)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[3]) -- first, for a full Redis refuses a script whose first write needs memory
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
