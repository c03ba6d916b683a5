"""`hookline bench`: how fast an installation is, measured so that others can measure it again.

A load generator and a receiver run as processes of their own beside the real product; what they wrote down is evaluated
when the load is over. Events are counted from the moment they were to be sent, so that a stall cannot hide itself.
"""
