"""Templates are bounded in time, size and memory, and not only in the text that they give."""

import resource
import time

import pytest
from jinja2.exceptions import SecurityError

from tocsin.model.text.sandbox import TooMuch, words
from tocsin.rules.language.templates import TemplateFault, checked

DOUBLED = 40  # times; what doubles so often would be larger than any memory

BOMBS = {
    "format filter": "{{ '%999999999d'|format(1) }}",
    "format operator": "{{ '%(a)999999999d' % {'a': 1} }}",
    "format star": "{{ '%*d' % (999999999, 1) }}",
    "format method": "{{ '{:999999999}'.format(1) }}",
    "ljust": "{{ 'a'.ljust(999999999) }}",
    "indent": "{{ 'a'|indent(999999999, true) }}",
    "indents": "{{ ('a\n' * 4000)" + "|indent(200, true)" * 5 + " }}",
    "filter block": "{% filter indent(99999999) %}a\nb{% endfilter %}",
    "wordwrap": "{{ ('a b' * 2000)|wordwrap(1, true, 'x' * 9000) }}",
    "json": "{{ {'a': [1]}|tojson(indent=99999999) }}",
    "concat": "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x ~ x %}" * DOUBLED + "{{ x }}",
    "plus": "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x + x %}" * DOUBLED + "{{ x }}",
    "list plus": "{% set x = [1] %}" + "{% set x = x + x %}" * DOUBLED + "{{ x }}",
    "list in list": "{% set x = [1] %}" + "{% set x = [x, x] %}" * DOUBLED + "{{ x }}",
    "dict in dict": "{% set x = {} %}" + "{% set x = {'a': x, 'b': x} %}" * DOUBLED + "{{ x|tojson }}",
    "tuple in tuple": "{% set x = (1, 2) %}" + "{% set x = (x, x) %}" * DOUBLED + "{{ x|string }}",
    "dict call": "{% set x = [1] %}" + "{% set x = dict(a=x, b=x) %}" * DOUBLED + "{{ x }}",
    "replace filter": "{{ 'a'" + "|replace('a', 'aaaaaaaaaa')" * 20 + " }}",
    "replace method": "{{ 'a'" + ".replace('a', 'aaaaaaaaaa')" * 20 + " }}",
    "replace nothing": "{{ ('a' * 9000)|replace('', 'x' * 9000) }}",
    "join filter": "{{ (['a', 'b'] * 1000)|join('x' * 9000) }}",
    "join method": "{{ ('x' * 9000).join(['a'] * 3000) }}",
    "whole numbers": "{% set x = 999999999 %}" + "{% set x = x * x %}" * 60 + "{{ x }}",
    "power": "{{ 9 ** 99999999 }}",
    "sum": "{{ ([[1]] * 3000)|sum(start=[]) }}",
    "range": "{{ range(999999999)|list }}",
    "loops": "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
    "macro twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "recursive loop": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "kept in a macro": "{% set x = 'a' * 9000 %}{% macro m() %}{% for i in range(9000) %}{{ x }}{% endfor %}{% endmacro %}{{ m() }}",
    "kept in a variable": "{% set x = 'a' * 9000 %}{% set y %}{% for i in range(9000) %}{{ x }}{% endfor %}{% endset %}",
    "kept text": "{% set y %}{% for i in range(9000) %}" + "a" * 100_000 + "{% endfor %}{% endset %}",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_what_makes_much_out_of_little_is_ended(bomb: str) -> None:
    """In an address or a summary, and in what rules say."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((TooMuch, SecurityError)):
        words().render(bomb, {}, 200_000)
    with pytest.raises(TemplateFault):
        checked(bomb)[0].render({})
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ a ~ '-' ~ 7 }} {{ [1, 2]|join('+') }} {{ 'x' * 3 }} {{ '%-5s|' % a }}", "a b-7 1+2 xxx a b  |"),
        ("{{ a.replace(' ', '_') }} {{ a|replace(' ', '-')|upper }} {{ ','.join(['p', 'q']) }}", "a_b A-B p,q"),
        ("{% macro m(n) %}<{{ n }}>{% endmacro %}{% for i in range(3) %}{{ m(i) }}{% endfor %}", "<0><1><2>"),
        ("{{ [{'n': 1}, {'n': 2}]|sum('n') }} {{ {'k': [1]}|tojson(indent=2)|length }} {{ 'p\nq'|indent(2) }}", "3 22 p\n  q"),
        ("{% set y %}{{ a }}!{% endset %}{{ y }}{% for k, v in {'s': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "a b!s=1"),
        ("{{ '100%' }} of {{ 12345 + 1 }} {{ ['b', 'a']|sort|map('upper')|list }}", "100% of 12346 ['A', 'B']"),
    ],
)  # fmt: skip
def test_what_people_write_is_what_it_was(source: str, text: str) -> None:
    assert text == words().render(source, {"a": "a b"})
    assert text == checked(source)[0].render({"a": "a b"})
