-- cleanup-segment: remove the record a receipt names and the parts that record names, wherever a merge has moved them.
-- WHY Lua:  an append must not land between the check and the delete.
-- SLOT:     {project:trace}
-- KEYS[1]   index     hash    see append.lua
-- KEYS[2]   segments  prefix  a segment's list is this and its key
-- ARGV[1]   segment key   ARGV[2] flush id (16)   ARGV[3] now ms   ARGV[4] late grace ms   ARGV[5] max index entries
-- RETURNS   {parts removed, entries left, key where they were, expired spans}; 0 parts: the receipt was used before
-- COST      O(parts of the segment)
local HEAD, HEAD_BYTES, LATE = '>BI4I4I6I4', 19, 2
local index, segments, key = KEYS[1], KEYS[2], ARGV[1]

local value = redis.call('HGET', index, key)
while value and #value == 8 do
  key = value
  value = redis.call('HGET', index, key)
end
local segment, field, record = segments .. key, 'f' .. ARGV[2], nil
local content = redis.call('LRANGE', segment, 0, -1)
for i = 1, #content, 2 do
  if content[i] == field then record = content[i + 1] end
end
if not record then
  local left = math.ceil(#content / 2)
  local expired = 0
  if left == 0 and value and #value >= HEAD_BYTES then -- its TTL ran out; some may have been published before
    local flags, spans, _, since, ordinal = struct.unpack(HEAD, value)
    expired = spans
    if spans > 0 then
      redis.call('HDEL', index, '') -- first, for a full Redis refuses a script whose first write needs memory
      redis.call('HSET', index, key, struct.pack(HEAD, flags, 0, 0, since, ordinal) .. string.sub(value, HEAD_BYTES + 1))
      if redis.call('HINCRBY', index, 'n', -1) <= 0 then redis.call('PEXPIRE', index, ARGV[4]) end
    end
  end
  return {0, left, key, expired}
end

local named, kept, removed, before = {[field] = true}, {}, 0, true
for at = 39, #record, 16 do named[string.sub(record, at, at + 15)] = true end
for i = 1, #content, 2 do
  if named[content[i]] then
    removed = removed + 1
    before = before and #kept == 0
  else
    kept[#kept + 1] = content[i]
    kept[#kept + 1] = content[i + 1]
  end
end
if before then -- what came since stands behind it
  redis.call('LTRIM', segment, 2 * removed, -1)
else
  local ttl = redis.call('PTTL', segment)
  redis.call('UNLINK', segment)
  for from = 1, #kept, 4000 do redis.call('RPUSH', segment, unpack(kept, from, math.min(from + 3999, #kept))) end
  if ttl > 0 then redis.call('PEXPIRE', segment, ttl) end
end
local left, expired = math.ceil(#kept / 2), 0
if value and #value >= HEAD_BYTES then
  local flags, spans, bytes, since, ordinal = struct.unpack(HEAD, value)
  local _, _, _, published, published_bytes = struct.unpack('>c8BBI4I4', record)
  local was = spans
  spans = math.max(spans - published, 0)
  if left == 0 then expired, spans = spans, 0 end
  bytes = left > 0 and math.max(bytes - published_bytes, 0) or 0
  if math.floor(flags / LATE) % 2 == 0 and left > 0 then flags = flags + LATE end
  local tail = string.sub(value, HEAD_BYTES + 1)
  redis.call('HSET', index, key, struct.pack(HEAD, flags, spans, bytes, tonumber(ARGV[3]), ordinal) .. tail)
  if spans == 0 and was > 0 and redis.call('HINCRBY', index, 'n', -1) <= 0 then
    redis.call('PEXPIRE', index, ARGV[4])
  end
end
if value and left == 0 and redis.call('HLEN', index) > tonumber(ARGV[5]) then redis.call('HDEL', index, key) end
return {removed - 1, left, key, expired}
