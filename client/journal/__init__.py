"""The crash-safe journal of one process: what `log()` returned from survives SIGKILL.

    spool_dir/<session>/hello.msgpack    the session's Hello message
                        owner.lock       flocked by the owner for its life; free means: adopt me
                        00000001.seg …   segments (format.py)

`writer` is the hot path, `segment` a piece of memory backed by a file (or by nothing, when there is no disk), `supply`
makes and recycles segments off the hot path, `reader` reads what a dead process left, `folder` is the spool folder.
"""
