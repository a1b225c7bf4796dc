-- cleanup-queue: give claims of one shard back; what they leave behind, here or where it was moved, is queued first.
-- WHY Lua:  a claim may have passed to another flush; only the lease on the receipt may end it.
-- SLOT:     {SHARD}
-- KEYS[1]   queue   zset  member -> deadline ms
-- KEYS[2]   claims  zset  member -> end of lease us
-- ARGV[1]   TTL ms
-- ARGV[2..] four a claim: member, end of lease us, member that holds something still or '', deadline for that one ms
-- RETURNS   {claims ended, entries queued}
-- COST      O(claims * log entries)
local queue, claims, queued = KEYS[1], KEYS[2], 0
local members, leases, ended = {}, {}, {}
for i = 2, #ARGV, 4 do
  members[#members + 1], leases[#leases + 1] = ARGV[i], tonumber(ARGV[i + 1])
  if ARGV[i + 2] ~= '' then
    redis.call('PEXPIRE', queue, ARGV[1]) -- first, for a full Redis refuses a script whose first write needs memory
    queued = queued + redis.call('ZADD', queue, 'NX', ARGV[i + 3], ARGV[i + 2])
    redis.call('PEXPIRE', queue, ARGV[1]) -- again, for before there may have been no queue
  end
end
for i, lease in ipairs(redis.call('ZMSCORE', claims, unpack(members))) do
  if lease and tonumber(lease) == leases[i] then ended[#ended + 1] = members[i] end
end
if #ended > 0 then redis.call('ZREM', claims, unpack(ended)) end
return {#ended, queued}
