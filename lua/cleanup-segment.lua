-- cleanup-segment: remove the records that receipts name and the parts they name, wherever a merge has moved them.
-- WHY Lua:  an append must not land between the check and the delete.
-- SLOT:     {project:trace}, of every trace in the call: in a cluster a call has one
-- KEYS[1]   index     hash    see append.lua
-- KEYS[2]   segments  prefix  a segment's list is this and its key
--           the same two for each further receipt
-- ARGV[1]   now ms   ARGV[2] late grace ms   ARGV[3] max index entries
-- ARGV[4..] two a receipt: segment key, flush id (16)
-- RETURNS   for each {parts removed, entries left, key where they were, expired spans, repeated spans}; 0 parts: it was
--           used before; repeated are spans of parts that stood there twice, and were published once
-- COST      O(parts of the segments)
local HEAD, HEAD_BYTES, LATE = '>BI4I4I6I4', 19, 2
local PART_BYTES, SPANS_AT = 11, 6 -- header of a part, its number of spans
local call = redis.call
local now, grace, max_entries = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local function cleanup(index, segments, key, flush_id)
  local value = call('HGET', index, key)
  while value and #value == 8 do
    key = value
    value = call('HGET', index, key)
  end
  local segment, field, record = segments .. key, 'f' .. flush_id, nil
  local content = call('LRANGE', segment, 0, -1)
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
        call('HDEL', index, '') -- first, for a full Redis refuses a script whose first write needs memory
        call('HSET', index, key, struct.pack(HEAD, flags, 0, 0, since, ordinal) .. string.sub(value, HEAD_BYTES + 1))
        if call('HINCRBY', index, 'n', -1) <= 0 then call('PEXPIRE', index, grace) end
      end
    end
    return {0, left, key, expired, 0}
  end

  local named, kept, removed, taken, before = {[field] = true}, {}, 0, 0, true
  for at = 39, #record, 16 do named[string.sub(record, at, at + 15)] = true end
  for i = 1, #content, 2 do
    if named[content[i]] then
      removed = removed + 1
      if #content[i] == 16 and #content[i + 1] >= PART_BYTES then
        taken = taken + struct.unpack('>I2', content[i + 1], SPANS_AT)
      end
      before = before and #kept == 0
    else
      kept[#kept + 1] = content[i]
      kept[#kept + 1] = content[i + 1]
    end
  end
  if before then -- what came since stands behind it
    call('LTRIM', segment, 2 * removed, -1)
  else
    call('HDEL', index, '') -- first, for a full Redis refuses a script whose first write needs memory
    for from = 1, #kept, 4000 do call('RPUSH', segment, unpack(kept, from, math.min(from + 3999, #kept))) end
    call('LTRIM', segment, #content, -1)
  end
  local left, expired = math.ceil(#kept / 2), 0
  local _, _, _, published, published_bytes = struct.unpack('>c8BBI4I4', record)
  if value and #value >= HEAD_BYTES then
    local flags, spans, bytes, since, ordinal = struct.unpack(HEAD, value)
    local was = spans
    spans = math.max(spans - math.max(published, taken), 0)
    if left == 0 then expired, spans = spans, 0 end
    bytes = left > 0 and math.max(bytes - published_bytes, 0) or 0
    if math.floor(flags / LATE) % 2 == 0 and left > 0 then flags = flags + LATE end
    local tail = string.sub(value, HEAD_BYTES + 1)
    call('HSET', index, key, struct.pack(HEAD, flags, spans, bytes, now, ordinal) .. tail)
    if spans == 0 and was > 0 and call('HINCRBY', index, 'n', -1) <= 0 then
      call('PEXPIRE', index, grace)
    end
  end
  if value and left == 0 and call('HLEN', index) > max_entries then call('HDEL', index, key) end
  return {removed - 1, left, key, expired, math.max(taken - published, 0)}
end

local reply, failure = {}, nil
for i = 1, #KEYS / 2 do -- a key of another type keeps no other back
  local done, found = pcall(cleanup, KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i + 2], ARGV[2 * i + 3])
  if done then reply[i] = found else failure = found end
end
return failure and redis.error_reply(type(failure) == 'table' and failure.err or failure) or reply
