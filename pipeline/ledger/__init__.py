"""The conservation ledger: is everything that was accepted delivered, open in the log, dead or cancelled?

Counted from the groups' offsets, the log and the archive; how, and why no pause of the traffic is needed: `count`.
"""
