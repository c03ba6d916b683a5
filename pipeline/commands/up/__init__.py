"""`hookline up`: everything on this machine, started, watched over and stopped together.

`command` reads the options, `instance` is the order of things, `keeper` restarts what dies. It starts the
same commands that a deployment runs.
"""
