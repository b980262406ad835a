-- A journal as version 1 of the layout and of the records wrote it. It does not change: it stands for those in the field.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = 0x41755363;
CREATE TABLE versions (what TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE operations (
    id BLOB PRIMARY KEY,
    resource_type TEXT NOT NULL,
    kind INTEGER NOT NULL, -- 0 create, 1 delete
    opened_at INTEGER NOT NULL,
    settled_at INTEGER NOT NULL,
    state INTEGER NOT NULL, -- 0 open, 1 reported, 2 finished
    finished_at INTEGER
) WITHOUT ROWID, STRICT;
CREATE INDEX unfinished ON operations (state, opened_at) WHERE state < 2;
CREATE INDEX finished ON operations (finished_at) WHERE state = 2;
CREATE INDEX settled ON operations (resource_type, kind, settled_at, opened_at);
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    operation BLOB NOT NULL,
    at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    record TEXT NOT NULL -- JSON
) STRICT;
CREATE INDEX entries_of ON entries (operation);
CREATE TABLE bindings (
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    operation BLOB NOT NULL,
    PRIMARY KEY (resource_type, resource_id)
) WITHOUT ROWID, STRICT;
CREATE INDEX bindings_of ON bindings (operation);
INSERT INTO versions VALUES ('schema', 1), ('records', 1);
INSERT INTO operations VALUES (x'01a20f0894f171c48639908ecbfd1001', 'api_key', 0, 1795548550370035, 1795548550380000, 2, 1795548559000000);
INSERT INTO operations VALUES (x'01a20f0894f171c48639908ecbfd1002', 'api_key', 1, 1795548551215770, 1795548551230000, 0, NULL);
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550371035, 1,
 '{"record":"prepared","plan":{"rule":"create-key","mode":"enforce","resource_type":"api_key","kind":{"create":{"id":"/id","parent":{"type":"agent","source":{"answer":"/agent_id"}},"undo":{"call":{"method":"DELETE","before":"/agent_api_keys/","after":"","as":"caller"},"accepted_on":[200,204,404]},"confirm":{"call":{"method":"GET","before":"/agent_api_keys/","after":"","as":"caller"},"gone_on":[404],"id":"/id"},"probe":{"call":{"method":"GET","target":"/agent_api_keys?agent_id=agent-1&limit=1000","as":"caller"},"page":{"parameter":"page_number","size":1000},"rows":"","where":[{"field":"/api_key_type","value":"external"},{"field":"/name","value":"first"}],"row":{"id":"/id","created_at":"/created_at"}}}}},"intent":1795548550370035,"principal":{"account_id":"acct-1","principal_type":"user","user_id":"user-1"},"pass":null}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550372035, 1,
 '{"record":"closed","effect":"may_come"}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550373035, 1,
 '{"record":"committed","id":"01a20f08-94f1-71c4-8639-908ecbfd1075","parent":{"type":"agent","id":"agent-1"}}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550374035, 1,
 '{"record":"registered","id":"01a20f08-94f1-71c4-8639-908ecbfd1075","ambiguous":false}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550375035, 1,
 '{"record":"passed","id":"01a20f08-94f1-71c4-8639-908ecbfd1075","why":"no_creator"}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550376035, 1,
 '{"record":"undoing","id":"01a20f08-94f1-71c4-8639-908ecbfd1075","evidence":"answer","reason":"deadline"}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550377035, 1,
 '{"record":"undoing","id":"01a20f08-94f1-71c4-8639-908ecbfd1075","evidence":{"claim":{"created_at":1795548550370035,"sighted":1795548551370035}},"reason":"unknown"}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550378035, 1,
 '{"record":"deleted","ids":["01a20f08-94f1-71c4-8639-908ecbfd1075"]}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550379035, 1,
 '{"record":"sweep","ids":["01a20f08-94f1-71c4-8639-908ecbfd1075"],"due":1795548554221567}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550380035, 1,
 '{"record":"reported","rows":["01a20f08-94f1-71c4-8639-908ecbfd1075"],"why":"no created_at"}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1001', 1795548550381035, 1,
 '{"record":"finished","resolution":"registered"}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1002', 1795548550382035, 1,
 '{"record":"prepared","plan":{"rule":"delete-key","mode":"enforce","resource_type":"api_key","kind":{"delete":{"by_id":{"id":"01a20f08-94f1-71c4-8639-908ecbfd1075","confirm":{"call":{"method":"GET","before":"/agent_api_keys/","after":"","as":"caller"},"gone_on":[404],"id":"/id"}}}}},"intent":1795548551215770,"principal":{"account_id":"acct-1","principal_type":"user","user_id":"user-1"},"pass":null}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1002', 1795548550383035, 1,
 '{"record":"targets","ids":["01a20f08-94f1-71c4-8639-908ecbfd1075"],"seen":true,"young":true}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1002', 1795548550384035, 1,
 '{"record":"closed","effect":"past"}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1002', 1795548550385035, 1,
 '{"record":"deleted","ids":["01a20f08-94f1-71c4-8639-908ecbfd1075"]}');
INSERT INTO entries (operation, at, version, record) VALUES (x'01a20f0894f171c48639908ecbfd1002', 1795548550386035, 1,
 '{"record":"sweep","ids":["01a20f08-94f1-71c4-8639-908ecbfd1075"],"due":1795548554221567}');
INSERT INTO bindings VALUES ('api_key', '01a20f08-94f1-71c4-8639-908ecbfd1075', x'01a20f0894f171c48639908ecbfd1001');
