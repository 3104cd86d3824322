"""A script that makes five runs below its own; each is Completed when its block ends."""

from tocsin import Run

run = Run.get_context()
for number in range(5):
    with run.child_run(name=f"child {number}") as child:
        child.log("number", number)
        child.log("square", number * number)
print("made", len(run.get_children()), "children")
