"""The kinds of processes, in the order of the flow. `hookline up` stops them in this order as well."""

PROCESS_KINDS = ("gateway", "matcher", "deliver", "archive")
