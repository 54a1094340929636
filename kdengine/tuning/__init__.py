"""Chosen by measuring: what is the fastest on this machine among ways that give the same.

Constants of one machine are wrong on the next. What is measured is kept in the workspace's cache, by kind of processor;
what a run was started with is kept in its folder, so that it is resumed with the same.
"""
