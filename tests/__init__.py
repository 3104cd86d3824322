"""Tests of tocsin; a package so that no installed `tests` shadows it."""
