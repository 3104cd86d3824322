"""The quick reader makes the tree that upstream's parser makes, or leaves the query to it."""

from __future__ import annotations

from typing import Any

import pytest
from duckdb_kql._antlr.KqlParser import KqlParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.errors import QueryError
from tocsin.kql.parse.read import quick
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.tokens import ASSIGNED, KEYWORDS, tokenize

READ = [
    "T",
    "T;",
    "T | where a == 'x' and b != \"y\" or not(c) and d < 3",
    "T | where a.b.c == 1 and a['b c'][0].d[n + 1] > -2.5",
    "T | where (a or b) and c",
    "T | where a has 'x' and b !has 'x' and c contains_cs 'x' and d !endswith 'x' and e matches regex 'x.*'",
    "T | where a =~ 'X' and b !~ 'Y' and c hasprefix 'z'",
    "T | where a in ('x', 'y') and b !in (1, 2) and c in~ ('X') and d !in~ ('y') and e has_any ('a', 'b')",
    "T | where a has_all ('x', 'y') and t between (ago(1d) .. now()) and n !between (1 .. 5)",
    "T | where a in (U | where b == 1 | project c)",
    "T | where 2 * a + b / 3 - c % 4 >= -d",
    "T | where a - 1 > 2 and -f(x) < +y",
    "T | where t > datetime(2026-01-01) and t < datetime(2026-01-01T12:00:00Z) and d > 5m",
    "T | where ['a b'] == true and b == False",
    "T | project a, b = c + 1, strcat(a, 'it\\'s', \"\\n\")",
    "T | extend a = iff(b, 1, 2), ['c d'] = bin(t, 1h), count()",
    "T | summarize n = count(), countif(a == 1), arg_max(t, *), dcount(a) by b, c = bin(t, 1h)",
    "T | summarize by a",
    "T | summarize n = count()",
    "T | distinct a, tostring(b)",
    "T | sort by a asc, b desc nulls last, c",
    "T | order by a | top 5 by n desc | take 3 | limit 2 | count",
    "T | project-away a, ['b c'] | project-rename d = e, f = g",
    "T | join kind=leftouter (U | where a == 1) on a, $left.b == $right.c",
    "T | join U on a | lookup kind = inner (V) on b",
    "T | union U, (V | where a == 1)",
    "union T, (U | take 5) | where a == 1",
    "T | mv-expand a, b to typeof(long) | mv-expand c = d.e to typeof(string)",
    "T | parse m with 'a' x:long * 'b' y *",
    "print a = 1, b = strcat('x', 'y')",
    "T | extend a = long(null), b = int(null), c = real(null), d = double(null), e = datetime(null), f = timespan(null)",
    "T | where a == bool(null) or b == guid(null) or isnull(dynamic(null))",
    "T | render timechart",
    "let n = 5; let m = n * 2; T | where a > m",
    "let U = T | where a > 1; let k = 3; U | where b == k and c in (U)",
    "let U = materialize(T | where a > 1); U | extend n = toscalar(U | summarize count())",
    "// a comment\nT // another\n| where a == 1",
]

LEFT = [
    "print x = 1..5",
    "T | where a[0]-1 > 2",
    "T | where a == 'x' 'y'",
    "T | where a == @'x'",
    "T | where a == 0x10",
    "T | where a == 1.",
    "T | take 5by",
    "T | where a == dynamic([1])",
    "T | where database('x').y",
    "T | where t == datetime (2026-01-01)",
    "let f = (x: long) { x + 1 }; T | where f(a) > 1",
    "let U = (T); U",
    "T | project-away a*",
    "T | where kind == 1",
    "T | summarize (a, b) = arg_max(t, c)",
    "T | where ü == 1",
    "T | where a == 99999999999999999999",
    "T | join kind=anti U on a",
    "T | invoke f()",
    "T | where a < b < c",
    "T | mv-expand a to typeof (long)",
    "T | project-awaya, b",
    "T | where a matches regexx 'y'",
    "T | where",
    "T |",
    "",
]


def _read(text: str) -> Any:
    return quick(text, tokenize(text))


def _whole(query: Any) -> str:
    """All of a tree as text, kinds of numbers included."""
    return repr((query.source, query.operators, query.lets, query.parameters))


def test_keywords_are_those_of_the_grammar() -> None:
    """A word that is new in upstream's grammar must not be taken for a name."""
    plain = {word.strip("'") for word in KqlParser.literalNames}
    words = {word for word in plain if word.replace("-", "").replace("_", "").isalnum()}
    assert {w for w in words if not (w.startswith("hint.") or w == "<INVALID>")} == KEYWORDS


@pytest.mark.parametrize("word", sorted(ASSIGNED))
def test_a_word_of_the_grammar_may_be_assigned(word: str) -> None:
    """Left of ``=`` these are names, for upstream too."""
    text = f"T | extend {word} = a | summarize n = 1, {word} = min(a) by {word} = b | project {word} = f(a)"
    made = _read(text)
    assert made is not None
    assert _whole(made) == _whole(upstream.lower(text))


@pytest.mark.parametrize("text", READ)
def test_the_tree_is_upstreams(text: str) -> None:
    """What is read at once means what upstream reads."""
    made, theirs = _read(text), upstream.lower(text)
    assert made is not None
    assert made == theirs
    assert _whole(made) == _whole(theirs)


@pytest.mark.parametrize("text", LEFT)
def test_what_is_not_certain_is_left(text: str) -> None:
    """A query of which the quick reader is not sure is upstream's, its errors too."""
    assert _read(text) is None


def test_a_column_that_contains_a_direction_sorts_as_it_says() -> None:
    """Upstream looks for desc in the whole text of a key."""
    (sort,) = _read("T | sort by Description asc, cascade").operators
    assert (True, False) == tuple(key.ascending for key in sort.keys)


def test_a_count_may_have_a_name() -> None:
    """Upstream's grammar has forgotten it."""
    assert [ir.Count("n")] == _read("T | count as n").operators


_LISTED = (
    "T U a b ['c d'] Tags.env d[0] d['x'] 1 2.5 -1 'x' \"y\" true 5m now() ago(1h) f(a,b) count() bin(t,1h) ( ) [ ] , . == != < "
    ">= + - * / % =~ !~ ! in !in in~ has !has contains startswith_cs matches regex between and or not( .. = | where "
    "project extend summarize by take sort asc desc nulls first join kind inner on $left.a $right.b union let ; count "
    "distinct top project-away mv-expand parse with datetime(2026-01-01) typeof(long) to"
)
_WORDS = st.sampled_from(_LISTED.split())
_GLUE = st.sampled_from([" ", " ", " ", "", "\n"])


@st.composite
def _texts(draw: st.DrawFn) -> str:
    head = draw(st.sampled_from(["T | where ", "T | extend x = ", "T | project ", "T | summarize ", "T | ", ""]))
    words = draw(st.lists(st.tuples(_WORDS, _GLUE), min_size=1, max_size=12))
    return head + "".join(word + glue for word, glue in words)


@given(_texts())
@example("T | where a -1 > 2")
@example("T | where a[0] -1 > 2")
@example("T | where a in (b)")
@settings(max_examples=examples(400), deadline=None)
def test_any_words_mean_what_upstream_says(text: str) -> None:
    """Where the quick reader is sure, upstream makes the same tree, and no error."""
    made = _read(text)
    if made is None:
        return
    try:
        theirs = upstream.lower(text)
    except QueryError as fault:
        raise AssertionError(f"upstream refuses {text!r}: {fault}") from fault
    if any(isinstance(op, ir.Sort | ir.Top) for op in made.operators):
        return  # see above
    assert _whole(made) == _whole(theirs)
