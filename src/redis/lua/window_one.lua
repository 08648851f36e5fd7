-- One of several limits: what it has counted, and how to go on with it.
return {left, previous, current, fit = fit, put = put}
