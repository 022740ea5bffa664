"""Starts, watches, restarts and drains the processes of one service. It never sees a client's byte."""
