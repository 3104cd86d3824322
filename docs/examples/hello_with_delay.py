"""A script that takes its time, so that there is something to watch and to cancel."""

import threading

from tocsin import Run

run = Run.get_context()
pause = threading.Event()
for minute in range(10):
    run.log("minute", minute)
    print("minute", minute)
    pause.wait(60)
