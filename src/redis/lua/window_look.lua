return {left, previous, current}
