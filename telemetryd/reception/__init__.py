"""Reception: the daemon's side of the wire, one thread.

socket.py     the only zmq import
endpoint.py   who may bind where: folders, locks, stale socket files
sessions.py   which connection speaks for which session (pure)
desk.py       frames in, one inbox transaction a turn, replies out
questions.py  answers to Asks, and the reports of runs
keys.py       the daemon's keys on disk, and its clients'
door.py       who is let in (pure)
reception.py  the thread that ties these together
"""
