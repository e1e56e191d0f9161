"""Regression on a table, with an error of logarithms."""
