"""A SQLite database as operations: reading by SQL within granted columns, typed changes where they are allowed."""

from inhabit.connectors.sql.connector import SqlConnector

__all__ = ["SqlConnector"]
