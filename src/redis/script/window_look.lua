return found
