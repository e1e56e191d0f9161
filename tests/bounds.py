"""How long tests wait for what has to come.

A guard against hanging, not a measurement: on a machine that others use too, an import that takes two seconds
may take a minute. What has to be quick is shown by what would otherwise last longer than this.
"""

HANG_S = 300.0
