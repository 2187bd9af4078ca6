"""Reads tables of binary formats in a process of its own, whose memory is limited.

What a file of these formats needs cannot be seen before it is read: a kilobyte may ask for gigabytes, and the libraries
that read them may end the process on a damaged one. `services.common.tables` starts this process and reads its answers.
"""
