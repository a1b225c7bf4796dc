-- append: put the parts of one batch into the segments of their traces; join segments that waited for one of its spans.
-- WHY Lua:  where a part goes depends on links that another batch may be changing; a load must see all of it or nothing.
-- SLOT:     {project:trace}, of every trace in the call: in a cluster a call has one
-- KEYS[1]   index     hash    links, heads, register, live segments (see below)
-- KEYS[2]   segments  prefix  a segment's list is this and its key: digest, part, ...; 'f' and flush id, flush record, ...
--           the same two for each further trace
-- ARGV[1]   now ms   ARGV[2] segment TTL ms   ARGV[3] index TTL ms   ARGV[4] max segment bytes   ARGV[5] max entries
-- ARGV[6]   shape: of each trace the number of parts (2 bytes) and of names (2); then of each of these parts
--           root known (0/1, 1 byte), spans (2), payload bytes (4)
-- ARGV[7..] of each trace its names, 'n' and of each part parent (8 bytes), digest (16), span ids (8 each); then its parts
-- RETURNS   {taken, duplicates, flushed duplicates, expired, merges, overflows, trace, key, state, first seen ms, ...}
--           counts are spans but for merges and overflows; four values for each segment with a part of this batch
--           and for each that has joined another; trace counts from 0; state 0 waits for its root, 1 has it, 2 is full,
--           3 has joined another, which is here, too
-- COST      O(spans) + moved parts; a part moves O(log n) times, because the smaller segment moves
--
-- The index by length of field and value:
--   span id (8)     -> root (8)            a link: data and arrivals have gone to that segment
--                   -> head (19)           a segment is keyed here
--                   -> head + root (27)    parted: the data stayed here (the merge was too large), arrivals go to root
--   overflow (12)   -> head (19)           root and ordinal: takes over when the segment before is full
--   digest (16)     -> key (8 or 12)       the register: where the part was put; flushed when it is there no more
--                   -> ''                  the same: where its first span id leads
--   'n'             -> live segments
local HEAD, HEAD_BYTES = '>BI4I4I6I4', 19
local FLAGS, SPANS, BYTES, SINCE, ORDINAL, PARTED, CHANGED, NEW = 1, 2, 3, 4, 5, 6, 7, 8 -- of a head
local ROOTED, LATE = 1, 2
local ARGV, KEYS, call, sub, pack, unpack_from = ARGV, KEYS, redis.call, string.sub, struct.pack, struct.unpack
local now, segment_ttl, index_ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local max_bytes, max_entries = tonumber(ARGV[4]), tonumber(ARGV[5])
local SLICE = 4000 -- unpack fails at 8,000

local taken, duplicates, flushed, expired, merges, overflows = 0, 0, 0, 0, 0, 0
local reply = {0, 0, 0, 0, 0, 0}

-- One trace at a time. `known` is the index as it was read, with the links and register entries that this call adds; a
-- digest that it adds is true. Heads are kept unpacked, and written last.
local index, segments, full, live, was_live, created
local known, heads, entries, puts, touched -- entries: field, value, ...; puts: key -> {digest, part, ...}
local there, moves -- key -> in Redis; {from, to, ...} in order

local function set(field, value)
  known[field], heads[field] = value, nil
  local n = #entries
  entries[n + 1], entries[n + 2] = field, value
end
-- The head of a segment; nil when there is a link or nothing.
local function head_of(key)
  local h = heads[key]
  if h then return h end
  local value = known[key]
  if value == nil then
    value = call('HGET', index, key)
    known[key] = value
  end
  if not value or #value < HEAD_BYTES then return nil end
  h = {unpack_from(HEAD, value)}
  h[PARTED] = #value > HEAD_BYTES and sub(value, HEAD_BYTES + 1)
  heads[key] = h
  return h
end
-- The same, or a new one.
local function head(key)
  local h = head_of(key)
  if not h then
    h = {0, 0, 0, now, 0, false, false, true}
    heads[key] = h
  end
  return h
end
local function flag(h, bit)
  if math.floor(h[FLAGS] / bit) % 2 == 0 then h[FLAGS], h[CHANGED] = h[FLAGS] + bit, true end
end

-- Is the segment in Redis? One that has spans is not asked for before its TTL can have run out.
local function exists(key)
  if there[key] == nil then
    local h = heads[key]
    there[key] = h and h[SPANS] > 0 and now - h[SINCE] < segment_ttl / 2 or call('EXISTS', segments .. key) == 1
  end
  return there[key]
end
-- Follows the links from an id to where no link is; shortens the path.
local function follow(id)
  local passed, last
  while not heads[id] do
    local value = known[id]
    if value == nil then
      value = call('HGET', index, id)
      known[id] = value
    end
    if not value or #value ~= 8 then break end
    if last then
      passed = passed or {}
      passed[#passed + 1] = last
    end
    last, id = id, value
  end
  if passed then
    for _, before in ipairs(passed) do set(before, id) end
  end
  return id
end
-- Where arrivals under an id go. Past a parted segment, whose own path stays: its data is found through it.
local function resolve(id)
  while true do
    id = follow(id)
    local h = head_of(id)
    if not (h and h[PARTED]) then return id, h end
    id = h[PARTED]
  end
end
-- Where the data that was put under a key is now. Overflow segments stay where they are.
local function locate(key)
  return #key == 8 and follow(key) or key
end

-- The segment waiting for span `id` becomes part of `base`.
local function join(id, from, base)
  local into = head(base)
  merges = merges + 1
  if from[SPANS] > 0 and not puts[id] and not exists(id) then
    expired, live, from[SPANS] = expired + from[SPANS], live - 1, 0
  end
  if from[SPANS] == 0 then return set(id, base) end
  if into[SPANS] > 0 and into[BYTES] + from[BYTES] > max_bytes then
    from[PARTED], from[CHANGED] = base, true
    return
  end
  if exists(id) then
    moves[#moves + 1] = {id, base, from[SPANS] > into[SPANS]}
    there[id], there[base] = false, true
  end
  if puts[id] then
    puts[base] = puts[base] or {}
    for _, value in ipairs(puts[id]) do table.insert(puts[base], value) end
    puts[id] = nil
  end
  if into[SPANS] > 0 then
    live, into[SINCE] = live - 1, math.min(into[SINCE], from[SINCE])
  else
    into[BYTES], into[SINCE] = 0, from[SINCE]
    if not into[NEW] then flag(into, LATE) end
  end
  into[SPANS], into[BYTES], into[CHANGED] = into[SPANS] + from[SPANS], into[BYTES] + from[BYTES], true
  set(id, base)
  touched[base] = true
end

-- The segment under `base` that takes `bytes` more: its own, or the newest overflow.
local function room(base, h, bytes)
  if h[ORDINAL] == 0 and (h[SPANS] == 0 or h[BYTES] + bytes <= max_bytes) then return base, h end
  local key = h[ORDINAL] == 0 and base or base .. pack('>I4', h[ORDINAL])
  local current = head(key)
  if current[SPANS] == 0 or current[BYTES] + bytes <= max_bytes then return key, current end
  overflows = overflows + 1
  touched[key] = true
  h[ORDINAL], h[CHANGED] = h[ORDINAL] + 1, true
  local overflow = base .. pack('>I4', h[ORDINAL])
  return overflow, head(overflow)
end

-- A part that was delivered before: its queue entry may be missing, because the call that put it there crashed.
local function delivered(parent, digest, spans, first)
  local key = known[digest]
  if key == true then
    duplicates = duplicates + spans
    return
  end
  key = locate(key == '' and ARGV[first] or key)
  if exists(key) then
    duplicates = duplicates + spans
    touched[key] = true
  else
    flushed = flushed + spans
  end
  local base = resolve(parent) -- it may have merged into that, too
  if exists(base) then touched[base] = true end
end

-- The part's span ids are ARGV[first] and those that follow.
local function put(parent, digest, rooted, spans, bytes, first, part)
  local base, root = resolve(parent)
  for i = first, first + spans - 1 do
    local id = ARGV[i]
    if id ~= base then
      local h = head_of(id)
      if h then
        if not h[PARTED] and h[FLAGS] % 2 ~= ROOTED then join(id, h, base) end
      elseif not full and not known[id] then
        set(id, base)
      end
    end
  end
  root = root or head(base)
  local key, h = room(base, root, bytes)
  taken = taken + spans
  if h[SPANS] == 0 then
    if not h[NEW] then flag(h, LATE) end
    if not there[key] then there[key] = false end
    live, created, h[SINCE], h[BYTES] = live + 1, true, now, 0
  end
  h[SPANS], h[BYTES], h[CHANGED] = h[SPANS] + spans, h[BYTES] + bytes, true
  local flat = puts[key]
  if flat then
    local n = #flat
    flat[n + 1], flat[n + 2] = digest, part
  else
    puts[key] = {digest, part}
  end
  if not full then
    local id = ARGV[first]
    set(digest, (id == key or known[id] == key) and '' or key) -- saves 8 bytes a part
  end
  known[digest] = true
  if rooted and base == parent then flag(root, ROOTED) end
  touched[key] = true
end

local function store(command, key, flat)
  local reply
  for from = 1, #flat, SLICE do reply = call(command, key, unpack(flat, from, math.min(from + SLICE - 1, #flat))) end
  return reply
end
-- To the end of a segment; one that begins with it gets its TTL.
local function push(key, flat)
  if store('RPUSH', key, flat) == #flat then call('PEXPIRE', key, segment_ttl) end
end

-- The parts first: what the register knows is there. A full Redis refuses the first write, and then there is none.
local function write()
  for key, flat in pairs(puts) do push(segments .. key, flat) end
  local n = #entries
  for key, h in pairs(heads) do
    if h[CHANGED] then
      local packed = pack(HEAD, h[FLAGS], h[SPANS], h[BYTES], h[SINCE], h[ORDINAL])
      entries[n + 1], entries[n + 2] = key, h[PARTED] and packed .. h[PARTED] or packed
      n = n + 2
    end
  end
  if live ~= was_live then entries[n + 1], entries[n + 2] = 'n', string.format('%d', live) end
  store('HSET', index, entries)
  if created or #moves > 0 then call('PEXPIRE', index, index_ttl) end
  for _, move in ipairs(moves) do
    local from, into, larger = segments .. move[1], segments .. move[2], move[3]
    if larger then
      push(from, call('LRANGE', into, 0, -1))
      redis.pcall('RENAME', from, into) -- an error is that there is neither
    else
      push(into, call('LRANGE', from, 0, -1))
      call('UNLINK', from)
    end
  end
end

local function tell(trace)
  local n = #reply
  for _, move in ipairs(moves) do
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = trace, move[1], 3, 0
    n = n + 4
  end
  for key in pairs(touched) do
    key = locate(key)
    local h = head(key)
    local own, root, ordinal = h, h, 0
    if #key ~= 8 then own, ordinal = head_of(sub(key, 1, 8)), unpack_from('>I4', key, 9) end
    if #key ~= 8 or h[PARTED] then root = head((resolve(sub(key, 1, 8)))) end
    local open = own and own[ORDINAL] == ordinal -- else its own has joined another, which has room
    reply[n + 1], reply[n + 2], reply[n + 4] = trace, key, h[SINCE]
    reply[n + 3] = not open and 2 or root[FLAGS] % 2
    n = n + 4
  end
end

-- Reads what the batch names of one trace; the rest is read on demand.
local function read(first, last)
  for from = first, last, SLICE do
    local to = math.min(from + SLICE - 1, last)
    local values = call('HMGET', index, unpack(ARGV, from, to))
    for i = from, to do known[ARGV[i]] = values[i - from + 1] end
  end
  full = call('HLEN', index) >= max_entries
  live = tonumber(known['n'] or 0)
end

local shape, at, arg = ARGV[6], 1, 7
there, moves = {}, {}
for trace = 0, #KEYS / 2 - 1 do
  index, segments = KEYS[2 * trace + 1], KEYS[2 * trace + 2]
  known, heads, entries, puts, touched, created = {}, {}, {}, {}, {}, false
  if next(there) then there, moves = {}, {} end

  local parts, names, rooted, spans, bytes
  local fresh = false
  parts, names, at = unpack_from('>I2I2', shape, at)
  read(arg, arg + names - 1)
  was_live = live
  local from = arg + 1
  arg = arg + names
  for blob = arg, arg + parts - 1 do
    rooted, spans, bytes, at = unpack_from('>BI2I4', shape, at)
    local parent, digest = ARGV[from], ARGV[from + 1]
    if known[digest] then
      delivered(parent, digest, spans, from + 2)
    else
      fresh = true
      put(parent, digest, rooted == 1, spans, bytes, from + 2, ARGV[blob])
    end
    from = from + 2 + spans
  end
  arg = arg + parts
  if fresh or #entries > 0 then write() end
  tell(trace)
end

reply[1], reply[2], reply[3], reply[4], reply[5], reply[6] = taken, duplicates, flushed, expired, merges, overflows
return reply
