-- append: put the parts of one batch into the segments of their traces; join segments whose missing parent is among them.
-- WHY Lua:  where a part goes depends on links that another batch may be changing; a load must see all of it or nothing.
-- SLOT:     {project:trace}, of every trace in the call: in a cluster a call has one
-- KEYS[1]   index     hash    links, heads, register, live segments (see below)
-- KEYS[2]   segments  prefix  a segment's hash is this and its key: digest -> part, 'f' flush id -> flush record
--           the same two for each further trace
-- ARGV[1]   now ms    ARGV[2] segment TTL ms   ARGV[3] index TTL ms   ARGV[4] max segment bytes   ARGV[5] max index entries
-- ARGV[6]   for each trace its parts (2 bytes) and names (2), for each of these parts the root known (0/1, 1 byte), spans (2)
-- ARGV[7..] for each trace its names: 'n', for each part parent (8 bytes), digest (16), span ids (8 each); then its parts
-- RETURNS   {taken, duplicates, flushed duplicates, expired, merges, overflows, trace, key, state, first seen ms, ...}
--           counts are spans but for merges and overflows; four values for each segment that holds a part of this batch;
--           trace counts from 0; state 0 waits for its root, 1 has it, 2 is full
-- COST      O(spans) + moved parts; a part moves O(log n) times, because the smaller segment moves
--
-- The index by length of field and value:
--   span id (8)     -> root (8)            a link: data and arrivals have gone to that segment
--                   -> head (19)           a segment is keyed here
--                   -> head + root (27)    parted: the data stayed here (the merge was too large), arrivals go to root
--   overflow (12)   -> head (19)           root and ordinal: takes over when the segment before is full
--   digest (16)     -> key (8 or 12)       the register: where the part was put; flushed when it is there no more
--   'n'             -> live segments
local HEAD, HEAD_BYTES = '>BI4I4I6I4', 19 -- flags, spans, payload bytes, first seen ms, overflow ordinal
local ROOTED, LATE = 1, 2
local PART_BYTES_AT = 8 -- payload bytes in the header of a part
local now, segment_ttl, index_ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local max_bytes, max_entries = tonumber(ARGV[4]), tonumber(ARGV[5])
local call, sub, pack, unpack_from = redis.call, string.sub, struct.pack, struct.unpack

local taken, duplicates, flushed, expired, merges, overflows = 0, 0, 0, 0, 0, 0
local reply = {0, 0, 0, 0, 0, 0}

-- One trace at a time. `known` is the index as read and as it is going to be, but for heads, which are kept unpacked.
local index, segments, full, live, created
local known, heads, changed -- changed: fields in order, and each of them -> true
local there, puts, moves, origins -- key -> in Redis; key -> {digest, part, ...}; {from, to} in order; key -> keys moved there
local touched, order

local function get(field)
  local value = known[field]
  if value == nil then
    value = call('HGET', index, field)
    known[field] = value
  end
  return value
end
local function change(field)
  if not changed[field] then
    changed[field] = true
    changed[#changed + 1] = field
  end
end
local function set(field, value)
  known[field], heads[field] = value, nil
  change(field)
end
-- The head of a segment; nil when there is a link or nothing.
local function head_of(key)
  local h = heads[key]
  if h then return h end
  local value = get(key)
  if not value or #value < HEAD_BYTES then return nil end
  local flags, spans, bytes, since, ordinal = unpack_from(HEAD, value)
  h = {rooted = flags % 2 == ROOTED, late = flags >= LATE, spans = spans, bytes = bytes, since = since, ordinal = ordinal,
    parted = #value > HEAD_BYTES and sub(value, HEAD_BYTES + 1)}
  heads[key] = h
  return h
end
-- The same; or a new one, which stands in the index only if it is changed.
local function head(key)
  return head_of(key) or {spans = 0, bytes = 0, since = now, ordinal = 0, new = true}
end
local function put_head(key, h)
  heads[key] = h
  change(key)
end

-- Is the segment in Redis? One that had spans is not asked for before its TTL can have run out.
local function exists(key)
  if there[key] == nil then
    local h = heads[key]
    there[key] = h and h.spans > 0 and now - h.since < segment_ttl / 2 or call('EXISTS', segments .. key) == 1
  end
  return there[key]
end
local function holds(key, digest)
  if call('HEXISTS', segments .. key, digest) == 1 then return true end
  for _, origin in ipairs(origins[key] or {}) do
    if call('HEXISTS', segments .. origin, digest) == 1 then return true end
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
  local run, last
  while true do
    local h = heads[id]
    local value = not h and get(id)
    if value and #value == 8 then
      if last then
        run = run or {}
        run[#run + 1] = last
      end
      last, id = id, value
    else
      if run then
        for _, passed in ipairs(run) do set(passed, id) end
      end
      h = h or (value and head_of(id))
      if not (h and h.parted) then return id end
      run, last, id = nil, nil, h.parted
    end
  end
end
-- Where the data that was put under a key is now.
local function locate(key)
  local run, last
  while #key == 8 and not heads[key] do
    local value = get(key)
    if not value or #value ~= 8 then break end
    if last then
      run = run or {}
      run[#run + 1] = last
    end
    last, key = key, value
  end
  if run then
    for _, passed in ipairs(run) do set(passed, key) end
  end
  return key
end

local function open_segment(h)
  if not h.new then h.late = true end
  live, created = live + 1, true
end

-- The segment waiting for span `id` becomes part of `base`.
local function join(id, base)
  local from, into = head(id), head(base)
  merges = merges + 1
  if from.spans > 0 and not puts[id] and not exists(id) then
    expired, live, from.spans = expired + from.spans, live - 1, 0
  end
  if from.spans == 0 then return set(id, base) end
  if into.spans > 0 and into.bytes + from.bytes > max_bytes then
    from.parted = base
    return put_head(id, from)
  end
  if exists(id) then
    moves[#moves + 1] = {id, base, from.spans > into.spans, into.spans > 0 and exists(base)}
    there[id], there[base] = false, true
    origins[base] = origins[base] or {}
    table.insert(origins[base], id)
    for _, origin in ipairs(origins[id] or {}) do table.insert(origins[base], origin) end
  end
  if puts[id] then
    puts[base] = puts[base] or {}
    for _, value in ipairs(puts[id]) do table.insert(puts[base], value) end
    puts[id] = nil
  end
  if into.spans > 0 then
    live, into.since = live - 1, math.min(into.since, from.since)
  else
    into.bytes, into.since = 0, from.since
    if not into.new then into.late = true end
  end
  into.spans, into.bytes = into.spans + from.spans, into.bytes + from.bytes
  put_head(base, into)
  set(id, base)
  touch(base)
end

-- The segment under `base` that takes `bytes` more: its own, or the newest overflow.
local function room(base, bytes)
  local h = head(base)
  if h.ordinal == 0 and (h.spans == 0 or h.bytes + bytes <= max_bytes) then return base, h end
  local key = h.ordinal == 0 and base or base .. pack('>I4', h.ordinal)
  local current = head(key)
  if current.spans == 0 or current.bytes + bytes <= max_bytes then return key, current end
  overflows = overflows + 1
  touch(key)
  h.ordinal = h.ordinal + 1
  put_head(base, h)
  local overflow = base .. pack('>I4', h.ordinal)
  return overflow, head(overflow)
end

-- A part that was delivered before: its queue entry may be missing, because the call that put it there crashed.
local function delivered(parent, digest, spans)
  if changed[digest] then
    duplicates = duplicates + spans
    return true
  end
  local key = get(digest)
  if not key then return false end
  key = locate(key)
  if holds(key, digest) then
    duplicates = duplicates + spans
    touch(key)
  else
    flushed = flushed + spans
  end
  local base = resolve(parent) -- it may have merged into that, too
  if exists(base) then touch(base) end
  return true
end

-- The part's span ids are ARGV[first] and those that follow.
local function put(parent, digest, rooted, spans, first, part)
  local base = resolve(parent)
  for i = first, first + spans - 1 do
    local id = ARGV[i]
    if id ~= base then
      local h = head_of(id)
      if h then
        if not h.parted and not h.rooted then join(id, base) end
      elseif not full and not known[id] then
        set(id, base)
      end
    end
  end
  local bytes = unpack_from('>I4', part, PART_BYTES_AT)
  local key, h = room(base, bytes)
  if full and holds(key, digest) then
    duplicates = duplicates + spans
  else
    taken = taken + spans
    if h.spans == 0 then
      open_segment(h)
      h.since, h.bytes = now, 0
      if not there[key] then there[key] = false end
    end
    h.spans, h.bytes = h.spans + spans, h.bytes + bytes
    put_head(key, h)
    local flat = puts[key]
    if not flat then
      flat = {}
      puts[key] = flat
    end
    flat[#flat + 1] = digest
    flat[#flat + 1] = part
    if full then changed[digest] = true else set(digest, key) end
  end
  if rooted and base == parent then
    local root = head(base)
    root.rooted = true
    put_head(base, root)
  end
  touch(key)
end

local function hset(key, flat)
  for from = 1, #flat, 4000 do call('HSET', key, unpack(flat, from, math.min(from + 3999, #flat))) end
end

-- The index first, because HSET is refused when memory is full and then nothing at all has been written.
local function write(was_live)
  if live ~= was_live then set('n', string.format('%d', live)) end
  local flat = {}
  for i = 1, #changed do
    local field = changed[i]
    local h = heads[field]
    flat[2 * i - 1] = field
    flat[2 * i] = h and pack(HEAD, (h.rooted and ROOTED or 0) + (h.late and LATE or 0), h.spans, h.bytes, h.since, h.ordinal)
      .. (h.parted or '') or known[field]
  end
  hset(index, flat)
  if created or #moves > 0 then call('PEXPIRE', index, index_ttl) end
  for _, move in ipairs(moves) do
    local from, into = segments .. move[1], segments .. move[2]
    local larger, present = move[3], move[4]
    if present or redis.pcall('RENAMENX', from, into) == 0 then
      if larger then
        hset(from, call('HGETALL', into))
        redis.pcall('RENAME', from, into)
        call('PEXPIRE', into, segment_ttl)
      else
        hset(into, call('HGETALL', from))
        call('UNLINK', from)
      end
    end
  end
  for key, flat in pairs(puts) do
    hset(segments .. key, flat)
    if there[key] == false or now - heads[key].since >= segment_ttl / 2 then call('PEXPIRE', segments .. key, segment_ttl) end
  end
end

local function tell(trace)
  local told = {}
  for i = 1, #order do
    local key = locate(order[i])
    if not told[key] then
      told[key] = true
      local own = sub(key, 1, 8)
      local h, base = head(key), head(resolve(own))
      local ordinal = #key == 12 and unpack_from('>I4', key, 9) or 0
      local n = #reply
      reply[n + 1], reply[n + 2], reply[n + 4] = trace, key, h.since
      reply[n + 3] = (head(own).ordinal ~= ordinal and 2) or (base.rooted and 1) or 0
    end
  end
end

-- Reads what the batch names of one trace; the rest is read on demand.
local function read(first, last)
  for from = first, last, 4000 do
    local to = math.min(from + 3999, last)
    local values = call('HMGET', index, unpack(ARGV, from, to))
    for i = from, to do known[ARGV[i]] = values[i - from + 1] end
  end
  full = call('HLEN', index) >= max_entries
  live = tonumber(known['n'] or 0)
end

local shape, at, arg = ARGV[6], 1, 7
there, moves, origins = {}, {}, {}
for trace = 0, #KEYS / 2 - 1 do
  index, segments = KEYS[2 * trace + 1], KEYS[2 * trace + 2]
  known, heads, changed, puts, touched, order, created = {}, {}, {}, {}, {}, {}, false
  if next(there) then there, moves, origins = {}, {}, {} end

  local parts, names, rooted, spans
  parts, names, at = unpack_from('>I2I2', shape, at)
  read(arg, arg + names - 1)
  local was_live, from = live, arg + 1
  arg = arg + names
  for blob = arg, arg + parts - 1 do
    rooted, spans, at = unpack_from('>BI2', shape, at)
    if not delivered(ARGV[from], ARGV[from + 1], spans) then
      put(ARGV[from], ARGV[from + 1], rooted == 1, spans, from + 2, ARGV[blob])
    end
    from = from + 2 + spans
  end
  arg = arg + parts
  if #changed > 0 or next(puts) then write(was_live) end
  tell(trace)
end

reply[1], reply[2], reply[3], reply[4], reply[5], reply[6] = taken, duplicates, flushed, expired, merges, overflows
return reply
