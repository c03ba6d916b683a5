"""The installation that a command works on: as the settings say, or a `hookline up` that runs.

`running` knows which run, `finding` has the precedence, `options` gives it to commands.
"""
