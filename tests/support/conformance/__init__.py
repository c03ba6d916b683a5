"""Cases that others collected; where they come from is in NOTICE.md."""
