"""Moderation: the pure screen of texts, and the service that judges what clients send.

The screen (`PolicySet`, `Screen`, `judge`) is a library: inference workers screen their answers with it.
"""
