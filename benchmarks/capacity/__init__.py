"""How many workers a wished rate needs: hardpose as a model of queues, with measured service times."""
