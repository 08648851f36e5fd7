redis.call('DEL', key)
return {left, previous, current}
