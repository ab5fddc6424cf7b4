"""Faults: kills, full disks, damaged files and double starts of real runs.

``make faults`` tries some hundreds, ``make test`` some dozens, and both print a table.
"""
