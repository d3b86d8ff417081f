"""The inbox: what clients have handed over and W&B has not confirmed yet, in one SQLite database.

store.py   the door: opens the database and bundles the three below
intake.py  hello and records in: dedupe, trimming, session ends
progress.py  out again: cursor and snapshot, deletion of what is confirmed, closing and finishing of runs
ledger.py  offered = delivered + dropped + pending, per run and in total
survey.py  what a payload holds (pure)
home.py  the file at its place, and back there when somebody removed it
database.py  the connection, its transactions and errors
adopt.py   spool folders of dead processes
"""
