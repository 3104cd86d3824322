"""Tables for people."""

from rich.cells import cell_len

from tocsin.cli.common import lines_of

ROWS = [["r1", "x" * 200, "ágnes 日本語"], ["r2", "y\nz", "b"]]


def test_a_table_is_cut_to_the_terminal() -> None:
    """The widest column first; what is wide in a terminal counts as that."""
    lines, left_out = lines_of(("RunId", "Message", "Owner"), ROWS, 40)
    assert 0 == left_out
    assert all(cell_len(line) <= 40 for line in lines)
    assert lines[1].startswith("r1     xxx") and lines[1].endswith("…  ágnes 日本語")
    assert lines[2].startswith("r2     y z ")


def test_columns_that_do_not_fit_are_left_out_and_counted() -> None:
    lines, left_out = lines_of([f"Column{i}" for i in range(30)], [["a long enough cell"] * 30], 80)
    assert 25 == left_out
    assert all(cell_len(line) <= 80 for line in lines)


def test_where_there_is_no_terminal_all_is_shown() -> None:
    assert ("x" * 200) in lines_of(("RunId", "Message", "Owner"), ROWS)[0][1]
    assert (["a"], 0) == lines_of(["a"], [], 10)
