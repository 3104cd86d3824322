"""The smallest script: it logs a metric and keeps a file."""

from pathlib import Path

from tocsin import Run

run = Run.get_context()
run.log("message", "Hello from a script")
for step in range(5):
    run.log("loss", 1 / (step + 1), step=step)
Path("outputs").mkdir(exist_ok=True)
Path("outputs/model.txt").write_text("weights\n")
print("hello from", run.id)
