"""The record's tables: SQLite, so that anyone can open it and a crash leaves every committed row.

`event.chain` is the place of a hash over the row and the chain before it; NULL where none was computed.
"""

from __future__ import annotations

# "GNav" in ASCII: tells a record from any other SQLite file.
APPLICATION_ID = 0x474E6176
VERSION = 1

CREATE = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE session (id INTEGER PRIMARY KEY CHECK (id = 1), meta TEXT NOT NULL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    arrival_s REAL NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload BLOB NOT NULL,
    chain BLOB
);
"""
INSERT_META = "INSERT INTO session (id, meta) VALUES (1, ?)"
INSERT_EVENT = "INSERT INTO event (arrival_s, source, kind, payload) VALUES (?, ?, ?, ?)"
SELECT_META = "SELECT meta FROM session WHERE id = 1"
SELECT_EVENTS = "SELECT id, arrival_s, source, kind, payload FROM event ORDER BY id"
