-- load: fix what the flushes of some segments publish, and read it.
-- WHY Lua:  the flush record and the content must come from one moment; what arrives later gets a record of its own.
-- SLOT:     {project:trace}, of every trace in the call: in a cluster a call has one
-- KEYS[1]   index     hash    see append.lua
-- KEYS[2]   segments  prefix  a segment's list is this and its key
--           the same two for each further claim
-- ARGV[1]   now ms   ARGV[2] max segment age ms   ARGV[3] segment TTL ms   ARGV[4] index TTL ms   ARGV[5] late grace ms
-- ARGV[6..] two a claim: segment key, end of this flush's lease us
-- RETURNS   for each claim, but not for those that would make the reply too large, one of
--           {0, expired spans, key, 0}   nothing is stored here; key, if not '', holds what was moved from here
--           {0, expired spans, key, ms}  all that is stored is being flushed by another until then
--           {1, expired spans, {field, value, ...}}  what this flush is to publish, and the parts
-- COST      O(parts)
--
-- A flush record, behind 'f' + flush id (16): segment id (8), reason, flags, spans, payload bytes, owner (20), digests
-- (16 each). But for the owner it never changes: a flush that is tried again publishes the same content under the same
-- id. The owner is the claim that publishes it: end of lease in us (8), segment key (12, zeros behind). A merge can
-- bring a record under another claim, and that one must not publish it a second time while the first is at it.
local HEAD, HEAD_BYTES, PARTED_BYTES, RECORD, PART = '>BI4I4I6I4', 19, 27, '>c8BBI4I4c20', '>BI4I2I4'
local OWNER_AT, DIGESTS_AT = 19, 39
local AGE, BYTES, ROOT, QUIET = 1, 2, 3, 4
local REPLY_BYTES = 2 ^ 18
local call, sub, pack, unpack_from = redis.call, string.sub, struct.pack, struct.unpack
local now, max_age, segment_ttl, index_ttl, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]

-- What became of a segment that is not stored: `spans` of it expired, or it joined another.
local function absent(index, segments, key, value, spans)
  if spans > 0 then
    call('PEXPIRE', index, index_ttl)
    call('HSET', index, key, sub(value, 1, 1) .. string.rep('\0', 8) .. sub(value, 10))
    if call('HINCRBY', index, 'n', -1) <= 0 then call('PEXPIRE', index, grace) end
  end
  local where, walked = '', {key}
  while value and #value == 8 do
    where, value = value, call('HGET', index, value)
    walked[#walked + 1] = where
  end
  if #walked > 2 then -- shorten the path, or a chain that came leaf first costs its length for every stale entry
    call('HDEL', index, '') -- first, for a full Redis refuses a script whose first write needs memory
    for i = 1, #walked - 2 do call('HSET', index, walked[i], where) end
  end
  if where ~= '' and call('EXISTS', segments .. where) == 0 then where = '' end
  return {0, spans, where, 0}
end

-- Records first: what they name is in no other. Those of another owner are taken out of the content.
local function take_records(segment, content, owner)
  local recorded, busy_until = {}, 0
  for i = #content - 1, 1, -2 do
    local field, stored = content[i], content[i + 1]
    if #field == 17 and #stored >= DIGESTS_AT + 15 then
      for at = DIGESTS_AT, #stored, 16 do recorded[sub(stored, at, at + 15)] = true end
      local lease = unpack_from('>I8', stored, OWNER_AT)
      if sub(stored, OWNER_AT, DIGESTS_AT - 1) ~= owner and lease > now * 1000 then
        busy_until = math.max(busy_until, lease)
        table.remove(content, i + 1)
        table.remove(content, i)
      else
        content[i + 1] = sub(stored, 1, OWNER_AT - 1) .. owner .. sub(stored, DIGESTS_AT)
        call('LSET', segment, i, content[i + 1])
      end
    end
  end
  return recorded, busy_until
end

local function new_record(index, key, value, owner, fresh, fresh_spans, fresh_bytes, flags, since)
  -- The id to publish under: the root that arrivals here would join now, parted or not.
  local root = sub(key, 1, 8)
  local root_value = #key == 8 and value or call('HGET', index, root)
  local own_root_value = root_value
  while root_value and (#root_value == 8 or #root_value == PARTED_BYTES) do
    root = sub(root_value, -8)
    root_value = call('HGET', index, root)
  end
  table.sort(fresh)
  local digests = table.concat(fresh)
  local hex, words = redis.sha1hex(index .. root .. digests), {}
  for i = 1, 4 do words[i] = tonumber(sub(hex, 8 * i - 7, 8 * i), 16) end
  local own = #key == 12 and unpack_from('>I4', key, 9) or 0
  local open = own_root_value and #own_root_value >= HEAD_BYTES and unpack_from('>I4', own_root_value, 16) or 0
  local rooted = root_value and #root_value >= HEAD_BYTES and string.byte(root_value) % 2 == 1
  local reason = (own < open and BYTES) or (now >= since + max_age and AGE) or (rooted and ROOT) or QUIET
  local record = pack(RECORD, root, reason, flags, fresh_spans, fresh_bytes, owner) .. digests
  return 'f' .. pack('>I4I4I4I4', unpack(words)), record
end

local size = 0
local function load(index, segments, key, lease_us)
  local segment = segments .. key
  local content = call('LRANGE', segment, 0, -1)
  if #content % 2 == 1 then content[#content + 1] = '' end -- somebody else's
  local value = call('HGET', index, key)
  local flags, spans, bytes, since, ordinal = 0, 0, 0, now, 0
  if value and #value >= HEAD_BYTES then flags, spans, bytes, since, ordinal = unpack_from(HEAD, value) end
  if #content == 0 then return absent(index, segments, key, value, spans) end
  call('PEXPIRE', index, index_ttl) -- first, for a full Redis refuses a script whose first write needs memory
  call('PEXPIRE', segment, segment_ttl)

  local owner = pack('>I8', lease_us) .. key .. string.rep('\0', 12 - #key)
  local recorded, busy_until = take_records(segment, content, owner)
  local fresh, fresh_spans, fresh_bytes = {}, 0, 0
  local parts, held, sound = 0, 0, true
  for i = 1, #content, 2 do
    local field, stored = content[i], content[i + 1]
    size = size + #stored
    if #field == 16 then
      local version, dictionary, count, raw = 0, 0, 0, 0
      if #stored >= 11 then version, dictionary, count, raw = unpack_from(PART, stored) end
      parts, held, sound = parts + 1, held + count, sound and version == 2
      if not recorded[field] then
        fresh[#fresh + 1] = field
        fresh_spans, fresh_bytes = fresh_spans + count, fresh_bytes + raw
      end
    end
  end
  local expired = sound and math.max(spans - held, 0) or 0
  if expired > 0 then
    call('HSET', index, key, pack(HEAD, flags, held, bytes, since, ordinal) .. sub(value, HEAD_BYTES + 1))
  end
  if #fresh > 0 then
    local field, record = new_record(index, key, value, owner, fresh, fresh_spans, fresh_bytes, flags, since)
    call('RPUSH', segment, field, record)
    content[#content + 1] = field
    content[#content + 1] = record
  elseif busy_until > 0 and #content == 2 * parts then
    return {0, expired, key, math.ceil(busy_until / 1000)}
  end
  return {1, expired, content}
end

local reply = {}
for i = 1, #KEYS / 2 do
  if size > REPLY_BYTES then break end
  reply[i] = load(KEYS[2 * i - 1], KEYS[2 * i], ARGV[4 + 2 * i], tonumber(ARGV[5 + 2 * i]))
end
return reply
