"""Timing: races, peers, layer sets, the machine. What ``omniconv bench`` is made of; no operation imports it."""
