-- append: put the parts of one batch into the segments of one trace; join segments whose missing parent is among them.
-- WHY Lua:  where a part goes depends on links that another batch may be changing; a load must see all of it or nothing.
-- SLOT:     {project:trace}
-- KEYS[1]   index     hash    links, heads, register, live segments (see below)
-- KEYS[2]   segments  prefix  a segment's hash is this and its key: digest -> part, 'f' flush id -> flush record
-- ARGV[1]   now ms    ARGV[2] segment TTL ms   ARGV[3] index TTL ms   ARGV[4] max segment bytes   ARGV[5] max index entries
-- ARGV[6..] six a part: parent (8 bytes), root known (0/1), payload bytes, digest (16), span ids (8 each), blob
-- RETURNS   {taken, duplicates, flushed duplicates, expired, merges, overflows, key, state, first seen ms, key, ...}
--           counts are spans but for merges and overflows; a triple for each segment that holds a part of this batch;
--           state 0 waits for its root, 1 has it, 2 is full
-- COST      O(spans) + moved parts; a part moves O(log n) times, because the smaller segment moves
--
-- The index by length of field and value:
--   span id (8)     -> root (8)            a link: data and arrivals have gone to that segment
--                   -> head (19)           a segment is keyed here
--                   -> head + root (27)    parted: the data stayed here (the merge was too large), arrivals go to root
--   overflow (12)   -> head (19)           root and ordinal: takes over when the segment before is full
--   digest (16)     -> key (8 or 12)       the register: where the part was put; '' when it has been flushed
--   'n'             -> live segments
local HEAD, HEAD_BYTES, PARTED_BYTES = '>BI4I4I6I4', 19, 27 -- flags, spans, payload bytes, first seen ms, overflow ordinal
local ROOTED, LATE = 1, 2
local index, segments = KEYS[1], KEYS[2]
local now, segment_ttl, index_ttl = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local max_bytes, max_entries = tonumber(ARGV[4]), tonumber(ARGV[5])

-- Read: everything the batch names, then what that links to; the rest on demand.
local known, dirty = {}, {}
local function fetch(fields)
  for from = 1, #fields, 4000 do
    local values = redis.call('HMGET', index, unpack(fields, from, math.min(from + 3999, #fields)))
    for i, value in ipairs(values) do known[fields[from + i - 1]] = value end
  end
end
local function get(field)
  if known[field] == nil then known[field] = redis.call('HGET', index, field) end
  return known[field]
end
local function set(field, value)
  known[field], dirty[field] = value, true
end

local parts, fields = {}, {'n'}
for i = 6, #ARGV, 6 do
  local ids = {}
  for at = 1, #ARGV[i + 4], 8 do ids[#ids + 1] = string.sub(ARGV[i + 4], at, at + 7) end
  parts[#parts + 1] = {parent = ARGV[i], rooted = ARGV[i + 1] == '1', bytes = tonumber(ARGV[i + 2]), digest = ARGV[i + 3],
    ids = ids, blob = ARGV[i + 5]}
  fields[#fields + 1] = ARGV[i]
  fields[#fields + 1] = ARGV[i + 3]
  for _, id in ipairs(ids) do fields[#fields + 1] = id end
end
fetch(fields)
local further = {}
for _, part in ipairs(parts) do
  local link = known[part.parent]
  if link and #link == 8 and known[link] == nil then
    known[link] = false
    further[#further + 1] = link
  end
end
fetch(further)
local full = redis.call('HLEN', index) >= max_entries
local live = tonumber(get('n') or 0)
local was_live = live

-- Decide: on the values in `known`, on what is there, and on what this call is going to put or move.
local there, puts, moves = {}, {}, {} -- key -> in Redis; key -> {digest, blob, ...}; {from, to} in order
local counts = {taken = 0, duplicate = 0, flushed = 0, expired = 0, merges = 0, overflows = 0}
local touched, order = {}, {}

local function head(key)
  local value = get(key)
  if not value or #value < HEAD_BYTES then return {flags = 0, spans = 0, bytes = 0, since = now, ordinal = 0, new = true} end
  local flags, spans, bytes, since, ordinal = struct.unpack(HEAD, value)
  return {flags = flags, spans = spans, bytes = bytes, since = since, ordinal = ordinal, tail = string.sub(value, HEAD_BYTES + 1)}
end
local function put_head(key, h)
  set(key, struct.pack(HEAD, h.flags, h.spans, h.bytes, h.since, h.ordinal) .. (h.tail or ''))
end
local function flag(flags, bit)
  if math.floor(flags / bit) % 2 == 1 then return flags end
  return flags + bit
end
local function is_rooted(h) return h.flags % 2 == ROOTED end

local function exists(key)
  if there[key] == nil then there[key] = redis.call('EXISTS', segments .. key) == 1 end
  return there[key]
end
local origins = {} -- key -> keys whose content this call is going to move there
local function holds(key, digest)
  if redis.call('HEXISTS', segments .. key, digest) == 1 then return true end
  for _, origin in ipairs(origins[key] or {}) do
    if redis.call('HEXISTS', segments .. origin, digest) == 1 then return true end
  end
  return false
end
local function touch(key)
  if not touched[key] then
    touched[key] = true
    order[#order + 1] = key
  end
end

-- Where arrivals under an id go. Shortens the path, but never across a parted segment: its data is found through it.
local function resolve(id)
  local run = {}
  local function shorten(to)
    for i = 1, #run - 1 do set(run[i], to) end
    run = {}
  end
  while true do
    local value = get(id)
    if value and #value == 8 then
      run[#run + 1] = id
      id = value
    elseif value and #value == PARTED_BYTES then
      shorten(id)
      id = string.sub(value, HEAD_BYTES + 1)
    else
      shorten(id)
      return id
    end
  end
end
-- Where the data that was put under a key is now.
local function locate(key)
  local walked = {}
  while #key == 8 and get(key) and #get(key) == 8 do
    walked[#walked + 1] = key
    key = get(key)
  end
  for i = 1, #walked - 1 do set(walked[i], key) end
  return key
end

-- The segment waiting for span `id` becomes part of `base`.
local function join(id, base)
  local from, into = head(id), head(base)
  counts.merges = counts.merges + 1
  if from.spans > 0 and not puts[id] and not exists(id) then
    counts.expired, live, from.spans = counts.expired + from.spans, live - 1, 0
  end
  if from.spans == 0 then return set(id, base) end
  if into.spans > 0 and into.bytes + from.bytes > max_bytes then
    from.tail = base
    return put_head(id, from)
  end
  if exists(id) then
    moves[#moves + 1] = {id, base}
    there[id], there[base] = false, true
    origins[base] = origins[base] or {}
    table.insert(origins[base], id)
    for _, origin in ipairs(origins[id] or {}) do table.insert(origins[base], origin) end
  end
  puts[base] = puts[base] or {}
  for _, value in ipairs(puts[id] or {}) do table.insert(puts[base], value) end
  puts[id] = nil
  if into.spans > 0 then
    live, into.since = live - 1, math.min(into.since, from.since)
  else
    into.bytes, into.since = 0, from.since
    if not into.new then into.flags = flag(into.flags, LATE) end
  end
  into.spans, into.bytes = into.spans + from.spans, into.bytes + from.bytes
  put_head(base, into)
  set(id, base)
  touch(base)
end

-- The segment under `base` that takes `bytes` more: its own, or the newest overflow.
local function room(base, bytes)
  local h = head(base)
  local key = h.ordinal == 0 and base or base .. struct.pack('>I4', h.ordinal)
  local current = head(key)
  if current.spans == 0 or current.bytes + bytes <= max_bytes then return key, current end
  counts.overflows = counts.overflows + 1
  touch(key)
  h.ordinal = h.ordinal + 1
  put_head(base, h)
  local overflow = base .. struct.pack('>I4', h.ordinal)
  return overflow, head(overflow)
end

local fresh = {}
local function delivered(part)
  if fresh[part.digest] then
    counts.duplicate = counts.duplicate + #part.ids
    return true
  end
  local key = get(part.digest)
  local flushed = key == ''
  key = key and not flushed and locate(key)
  if not flushed and not (key and holds(key, part.digest)) then return false end
  if flushed then
    counts.flushed = counts.flushed + #part.ids
  else
    counts.duplicate = counts.duplicate + #part.ids
    touch(key)
  end
  local base = resolve(part.parent) -- the call that crashed may have merged into it, and queued nothing
  if exists(base) then touch(base) end
  return true
end

for _, part in ipairs(parts) do
  if not delivered(part) then
    fresh[part.digest] = true
    local base = resolve(part.parent)
    for _, id in ipairs(part.ids) do
      if id ~= base then
        local value = get(id)
        if not value then
          if not full then set(id, base) end
        elseif #value == HEAD_BYTES and not is_rooted(head(id)) then
          join(id, base)
        end
      end
    end
    local key, h = room(base, part.bytes)
    if full and holds(key, part.digest) then
      counts.duplicate = counts.duplicate + #part.ids
    else
      counts.taken = counts.taken + #part.ids
      if h.spans == 0 then
        live, h.since, h.bytes = live + 1, now, 0
        if not h.new then h.flags = flag(h.flags, LATE) end
      end
      h.spans, h.bytes = h.spans + #part.ids, h.bytes + part.bytes
      put_head(key, h)
      puts[key] = puts[key] or {}
      table.insert(puts[key], part.digest)
      table.insert(puts[key], part.blob)
      if not full then set(part.digest, key) end
    end
    if part.rooted and base == part.parent then
      local root = head(base)
      root.flags = flag(root.flags, ROOTED)
      put_head(base, root)
    end
    touch(key)
  end
end

-- Write: the index first, because HSET is refused when memory is full and then nothing at all has been written.
if live ~= was_live then set('n', string.format('%d', live)) end
local entries = {}
for field in pairs(dirty) do
  entries[#entries + 1] = field
  entries[#entries + 1] = known[field]
end
local function hset(key, flat)
  for from = 1, #flat, 4000 do redis.call('HSET', key, unpack(flat, from, math.min(from + 3999, #flat))) end
end
hset(index, entries)
if next(puts) or #moves > 0 then redis.call('PEXPIRE', index, index_ttl) end
for _, move in ipairs(moves) do
  local from, into = segments .. move[1], segments .. move[2]
  local size = redis.call('HLEN', into)
  if size == 0 then
    redis.call('RENAME', from, into)
  elseif size < redis.call('HLEN', from) then
    hset(from, redis.call('HGETALL', into))
    redis.call('RENAME', from, into)
  else
    hset(into, redis.call('HGETALL', from))
    redis.call('DEL', from)
  end
end
for key, flat in pairs(puts) do
  hset(segments .. key, flat)
  redis.call('PEXPIRE', segments .. key, segment_ttl)
end

local reply = {counts.taken, counts.duplicate, counts.flushed, counts.expired, counts.merges, counts.overflows}
local told = {}
for _, key in ipairs(order) do
  key = locate(key)
  if not told[key] then
    told[key] = true
    local h, base = head(key), head(resolve(string.sub(key, 1, 8)))
    local ordinal = #key == 12 and struct.unpack('>I4', key, 9) or 0
    local open = head(string.sub(key, 1, 8)).ordinal == ordinal
    reply[#reply + 1] = key
    reply[#reply + 1] = (not open and 2) or (is_rooted(base) and 1) or 0
    reply[#reply + 1] = h.since
  end
end
return reply
