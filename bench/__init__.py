"""`hookline bench`: how fast an installation is, measured so that others can measure it again.

A load generator and a receiver run as processes beside the real product; their journals are evaluated
when the load is over. Events are counted from the moment they were to be sent, so that a stall cannot hide itself.
"""
