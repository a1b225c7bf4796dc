-- take-message: move the next message of a broker queue into kombu's `unacked`, or say that there is none.
-- WHY Lua:  popped and not yet in `unacked`, a message dies with its worker. Here it is in one of the two at any time.
-- SLOT:     none, kombu's broker is a single Redis
-- KEYS[1..] queues  list    messages as kombu's senders LPUSH them, most urgent first; reading them makes the
--                           connection's CLIENT TRACKING report their next change, also of the empty ones
-- ARGV[1]   unacked hash    delivery tag -> [message, exchange, routing key]; ARGV[2] its index, zset: tag -> time.
--                           Not in KEYS: Redis 6.2 tracks every declared key, and each acknowledgement would be reported
-- ARGV[3]   now     seconds, of the clock that kombu compares with visibility_timeout
-- ARGV[4..] names   name of the queue that each key belongs to
-- BUILDS    <queue key>.unreadable  list  messages without a delivery tag, set aside
-- RETURNS   {}, {queue name, message}, or {queue name, message, key it was set aside in}
-- COST      O(keys + length of the message)
local unacked, index, now = ARGV[1], ARGV[2], ARGV[3]

local BODY = '{"body": "'

-- Decoding 100 KB takes a millisecond, so a body that ends at its first quote is left out, as base64 does.
local function without_body(message)
    local quote = message:sub(1, #BODY) == BODY and message:find('"', #BODY + 1, true)
    if not quote or message:sub(quote - 1, quote - 1) == '\\' then return message end
    return BODY .. message:sub(quote)
end

local function delivery_tag(message)
    local readable, decoded = pcall(cjson.decode, without_body(message))
    local properties = readable and type(decoded) == 'table' and decoded.properties
    local tag = type(properties) == 'table' and properties.delivery_tag
    return type(tag) == 'string' and tag
end

for i, key in ipairs(KEYS) do
    local message = redis.call('LINDEX', key, -1)
    if message then
        local queue, tag = ARGV[3 + i], delivery_tag(message)
        -- A full server refuses HSET only as a script's first write. Nothing is removed before it is stored.
        redis.call('HDEL', unacked, tag or '')
        if not tag then
            redis.call('RPOPLPUSH', key, key .. '.unreadable')
            return {queue, message, key .. '.unreadable'}
        end
        -- No exchange and the queue as routing key: a restored message returns to this queue, whatever is bound.
        redis.call('HSET', unacked, tag, '[' .. message .. ',"",' .. cjson.encode(queue) .. ']')
        redis.call('ZADD', index, now, tag)
        redis.call('LTRIM', key, 0, -2)
        return {queue, message}
    end
end
return {}
