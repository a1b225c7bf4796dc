-- load: fix what one flush of a segment publishes, and read it.
-- WHY Lua:  the flush record and the content must come from one moment; what arrives later gets a record of its own.
-- SLOT:     {project:trace}
-- KEYS[1]   index     hash    see append.lua
-- KEYS[2]   segments  prefix  a segment's hash is this and its key
-- ARGV[1]   segment key   ARGV[2] now ms   ARGV[3] max segment age ms   ARGV[4] segment TTL ms   ARGV[5] index TTL ms
-- ARGV[6]   late grace ms   ARGV[7] now us   ARGV[8] end of this flush's lease us
-- RETURNS   {0, expired spans, key, 0}   nothing is stored here; key, if not '', holds what was moved from here
--           {0, 0, key, ms}              all that is stored is being flushed by another until then
--           {1, expired spans, {field, value, ...}}  what this flush is to publish, and the parts
-- COST      O(parts)
--
-- A flush record, field 'f' + flush id (16): segment id (8), reason, flags, spans, payload bytes, owner (20), digests
-- (16 each). But for the owner it never changes: a flush that is tried again publishes the same content under the same
-- id. The owner is the claim that publishes it: end of lease in us (8), segment key (12, zeros behind). A merge can
-- bring a record under another claim, and that one must not publish it a second time while the first is at it.
local HEAD, HEAD_BYTES, PARTED_BYTES, RECORD, PART = '>BI4I4I6I4', 19, 27, '>c8BBI4I4c20', '>BI4I2I4'
local OWNER_AT, DIGESTS_AT = 19, 39
local AGE, BYTES, ROOT, QUIET = 1, 2, 3, 4
local index, segments, key = KEYS[1], KEYS[2], ARGV[1]
local segment = segments .. key

local content = redis.call('HGETALL', segment)
local value = redis.call('HGET', index, key)
local flags, spans, bytes, since, ordinal = 0, 0, 0, tonumber(ARGV[2]), 0
if value and #value >= HEAD_BYTES then flags, spans, bytes, since, ordinal = struct.unpack(HEAD, value) end
local function put_head(n, b)
  local tail = string.sub(value, HEAD_BYTES + 1)
  redis.call('HSET', index, key, struct.pack(HEAD, flags, n, b, since, ordinal) .. tail)
end

if #content == 0 then
  if spans > 0 then
    redis.call('PEXPIRE', index, ARGV[5])
    put_head(0, 0)
    if redis.call('HINCRBY', index, 'n', -1) <= 0 then redis.call('PEXPIRE', index, ARGV[6]) end
  end
  local where, walked = '', {key}
  while value and #value == 8 do
    where, value = value, redis.call('HGET', index, value)
    walked[#walked + 1] = where
  end
  if #walked > 2 then -- shorten the path, or a chain that came leaf first costs its length for every stale entry
    redis.call('HDEL', index, '') -- first, for a full Redis refuses a script whose first write needs memory
    for i = 1, #walked - 2 do redis.call('HSET', index, walked[i], where) end
  end
  if where ~= '' and redis.call('EXISTS', segments .. where) == 0 then where = '' end
  return {0, spans, where, 0}
end
redis.call('PEXPIRE', index, ARGV[5]) -- first, for a full Redis refuses a script whose first write needs memory
redis.call('PEXPIRE', segment, ARGV[4])

-- The id to publish under: the root that arrivals here would join now, parted or not.
local root = string.sub(key, 1, 8)
local root_value = #key == 8 and value or redis.call('HGET', index, root)
local own_root_value = root_value
while root_value and (#root_value == 8 or #root_value == PARTED_BYTES) do
  root = string.sub(root_value, -8)
  root_value = redis.call('HGET', index, root)
end

-- Records first: what they name is in no other. Those of another owner are left out of the reply.
local owner = struct.pack('>I8', tonumber(ARGV[8])) .. key .. string.rep('\0', 12 - #key)
local recorded, busy_until = {}, 0
for i = #content - 1, 1, -2 do
  local field, stored = content[i], content[i + 1]
  if #field == 17 and #stored >= DIGESTS_AT + 15 then
    for at = DIGESTS_AT, #stored, 16 do recorded[string.sub(stored, at, at + 15)] = true end
    local lease = struct.unpack('>I8', stored, OWNER_AT)
    if string.sub(stored, OWNER_AT, DIGESTS_AT - 1) ~= owner and lease > tonumber(ARGV[7]) then
      busy_until = math.max(busy_until, lease)
      table.remove(content, i + 1)
      table.remove(content, i)
    else
      content[i + 1] = string.sub(stored, 1, OWNER_AT - 1) .. owner .. string.sub(stored, DIGESTS_AT)
      redis.call('HSET', segment, field, content[i + 1])
    end
  end
end
local fresh, fresh_spans, fresh_bytes = {}, 0, 0
local parts, held, sound = 0, 0, true
for i = 1, #content, 2 do
  local field, stored = content[i], content[i + 1]
  if #field == 16 then
    local version, dictionary, count, raw = 0, 0, 0, 0
    if #stored >= 11 then version, dictionary, count, raw = struct.unpack(PART, stored) end
    parts, held, sound = parts + 1, held + count, sound and version == 2
    if not recorded[field] then
      fresh[#fresh + 1] = field
      fresh_spans, fresh_bytes = fresh_spans + count, fresh_bytes + raw
    end
  end
end
local expired = sound and math.max(spans - held, 0) or 0
if expired > 0 then put_head(held, bytes) end

if #fresh > 0 then
  table.sort(fresh)
  local digests = table.concat(fresh)
  local hex = redis.sha1hex(index .. root .. digests)
  local field = 'f' .. struct.pack('>I4I4I4I4', tonumber(string.sub(hex, 1, 8), 16), tonumber(string.sub(hex, 9, 16), 16),
    tonumber(string.sub(hex, 17, 24), 16), tonumber(string.sub(hex, 25, 32), 16))
  local own = #key == 12 and struct.unpack('>I4', key, 9) or 0
  local open = own_root_value and #own_root_value >= HEAD_BYTES and struct.unpack('>I4', own_root_value, 16) or 0
  local rooted = root_value and #root_value >= HEAD_BYTES and string.byte(root_value) % 2 == 1
  local old = tonumber(ARGV[2]) >= since + tonumber(ARGV[3])
  local reason = (own < open and BYTES) or (old and AGE) or (rooted and ROOT) or QUIET
  local record = struct.pack(RECORD, root, reason, flags, fresh_spans, fresh_bytes, owner) .. digests
  redis.call('HSET', segment, field, record)
  content[#content + 1] = field
  content[#content + 1] = record
elseif busy_until > 0 and #content == 2 * parts then
  return {0, 0, key, math.ceil(busy_until / 1000)}
end
return {1, expired, content}
