-- count-outcomes: add to the outcome counters of a day.
-- WHY Lua:  counting must not be refused by a full Redis: it stands between publishing and cleaning up.
-- SLOT:     day
-- KEYS[1]   outcomes  hash  category.reason -> spans
-- ARGV[1]   TTL ms    ARGV[2..] name, spans, name, spans, ...
-- RETURNS   number of counters
-- COST      O(counters)
redis.call('PEXPIRE', KEYS[1], ARGV[1]) -- first, for a full Redis refuses a script whose first write needs memory
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1]) -- again, for before there may have been no counters
return (#ARGV - 1) / 2
