-- Whose process a session is: the user at the other end of its ipc connection, or who owns its journal where it was
-- adopted (inbox/peers.py). NULL: not known, as over TCP; -1: several users have spoken for it.
ALTER TABLE sessions ADD COLUMN peer_uid INTEGER;
