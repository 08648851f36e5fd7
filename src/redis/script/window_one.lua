-- One of several limits: what it has counted, and how to go on with it.
found.fit, found.put = fit, add
return found
