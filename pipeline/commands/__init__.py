"""The sub-commands of `hookline`, a module each. They read settings, choose and wire; what they start lives elsewhere.

Each module imports next to nothing at its top, because `hookline --help` imports all of them.
"""
