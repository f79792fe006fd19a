"""The record's tables: SQLite, so that anyone can open it and a crash leaves every committed row.

Version 2: every row carries its link of the chain (`tracking.recording.chain`) and `seal` says how the record
ended; `rows` is NULL while it is open. Version 1 had no seal and NULL for every link; it is still read.
"""

from __future__ import annotations

# "GNav" in ASCII: tells a record from any other SQLite file.
APPLICATION_ID = 0x474E6176
VERSION = 2
VERSION_WITHOUT_CHAIN = 1

# `chain` stands before `payload`, so that links are read without touching a large payload's pages.
CREATE = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE session (id INTEGER PRIMARY KEY CHECK (id = 1), meta TEXT NOT NULL, chain BLOB NOT NULL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    arrival_s REAL NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    chain BLOB NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE seal (
    id INTEGER PRIMARY KEY CHECK (id = 1), rows INTEGER, chain BLOB, closed_s REAL, signature BLOB
);
INSERT INTO seal (id) VALUES (1);
"""
INSERT_META = "INSERT INTO session (id, meta, chain) VALUES (1, ?, ?)"
INSERT_EVENT = "INSERT INTO event (id, arrival_s, source, kind, chain, payload) VALUES (?, ?, ?, ?, ?, ?)"
UPDATE_SEAL = "UPDATE seal SET rows = ?, chain = ?, closed_s = ?, signature = ? WHERE id = 1"
COUNT_SEAL_TABLES = "SELECT count(*) FROM sqlite_master WHERE name = 'seal'"
SELECT_META = "SELECT meta, chain FROM session WHERE id = 1"
SELECT_META_1 = "SELECT meta, NULL FROM session WHERE id = 1"
SELECT_SEAL = "SELECT rows, chain, closed_s, signature FROM seal WHERE id = 1"
SELECT_EVENTS = "SELECT id, arrival_s, source, kind, payload, chain FROM event WHERE id >= ? ORDER BY id"
SELECT_PICKED = """
SELECT e.id, e.arrival_s, e.source, e.kind, e.payload, e.chain, p.chain
FROM event e LEFT JOIN event p ON p.id = e.id - 1
WHERE e.kind IN (SELECT value FROM json_each(?)) ORDER BY e.id
"""
SELECT_ARRIVAL = "SELECT arrival_s FROM event WHERE id = ?"
SELECT_CHAIN = "SELECT chain FROM event WHERE id = ?"
SELECT_LAST = "SELECT id, arrival_s FROM event ORDER BY id DESC LIMIT 1"
SELECT_LENGTHS = "SELECT id, length(payload) FROM event WHERE id >= ? ORDER BY id DESC"
