"""What a span costs: CPU on both sides, commands, bytes on the wire and bytes held, against floors of the same run.

`sections` says what is measured and in which order, `figures` what is found, `tables`, `plots` and `documents` show it.
Outside the tests: a machine with neighbours must not decide whether a change is right.
"""
