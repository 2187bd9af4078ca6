"""Judging policies by what simulated learners learn when a policy decides what they work on next.

Everything that comes out of this package is simulated. It shows whether a policy helps learners who learn as the
simulation says, and whether it does more than copy what teachers assigned. It is no evidence about real learners.
"""
