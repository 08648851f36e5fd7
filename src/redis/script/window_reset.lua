redis.call('DEL', key)
return found
