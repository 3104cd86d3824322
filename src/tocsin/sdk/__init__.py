"""The run tracker of a workspace folder: SDK, spool of events, ``tocsin exec``. It needs no server and loads nothing of the pipeline."""
