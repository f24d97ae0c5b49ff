"""One search: its plan, its loop, its queue of trials, its processes."""
