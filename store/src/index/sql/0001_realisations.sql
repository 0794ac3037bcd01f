-- An index over the files in realisations/, which are the source of truth:
-- every row here can be made again from them.
CREATE TABLE realisation (
    id      BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    action  BLOB NOT NULL CHECK (length(action) = 32),
    recipe  BLOB NOT NULL CHECK (length(recipe) = 32),
    -- The file's bytes, so that a lookup opens no file.
    encoded BLOB NOT NULL CHECK (length(encoded) > 64)
) STRICT;

CREATE INDEX realisation_by_action ON realisation (action);
CREATE INDEX realisation_by_recipe ON realisation (recipe);

-- When an output was used last, in seconds since 1970. This is the source of
-- truth; if it is lost, everything counts as used now.
CREATE TABLE tree_use (
    tree        BLOB    NOT NULL PRIMARY KEY CHECK (length(tree) = 32),
    last_used_s INTEGER NOT NULL CHECK (last_used_s >= 0)
) STRICT, WITHOUT ROWID;

-- Under which boot the index was last compared with the files. Rows are not
-- synced one by one, so a power cut can lose the latest of them.
CREATE TABLE compared (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    boot TEXT    NOT NULL CHECK (boot <> '')
) STRICT;
