-- +goose Up
CREATE TABLE hosts (
    id             TEXT    NOT NULL PRIMARY KEY,
    owner          TEXT,
    version        BIGINT  NOT NULL,
    name           TEXT    NOT NULL,
    standing       TEXT    NOT NULL,
    public_key     BLOB    NOT NULL,
    epoch          BIGINT  NOT NULL,
    facts          TEXT    NOT NULL,
    tags           TEXT    NOT NULL,
    judged         TEXT    NOT NULL,
    region         TEXT    NOT NULL,
    verified       BOOLEAN NOT NULL,
    succeeded      BIGINT  NOT NULL,
    runs           BIGINT  NOT NULL,
    bandwidth_mbps BIGINT  NOT NULL,
    created_at     BIGINT,
    seen_at        BIGINT,
    changed_at     BIGINT
);
CREATE UNIQUE INDEX hosts_key ON hosts (public_key);
CREATE INDEX hosts_owner ON hosts (owner, id);
CREATE INDEX hosts_changed ON hosts (changed_at);

CREATE TABLE devices (
    id        TEXT    NOT NULL PRIMARY KEY,
    host_id   TEXT    NOT NULL REFERENCES hosts (id),
    position  BIGINT  NOT NULL,
    uuid      TEXT    NOT NULL,
    model     TEXT    NOT NULL,
    vram_mb   BIGINT  NOT NULL,
    driver    TEXT    NOT NULL,
    cuda      TEXT    NOT NULL,
    price     BIGINT  NOT NULL,
    listed    BOOLEAN NOT NULL,
    present   BOOLEAN NOT NULL,
    version   BIGINT  NOT NULL,
    listed_at BIGINT
);
CREATE INDEX devices_host ON devices (host_id, position);

CREATE TABLE enrollments (
    id         TEXT NOT NULL PRIMARY KEY,
    owner      TEXT,
    token_hash BLOB NOT NULL,
    created_at BIGINT,
    expires_at BIGINT,
    used_by    TEXT
);
CREATE UNIQUE INDEX enrollments_token ON enrollments (token_hash);

CREATE TABLE presences (
    host      TEXT    NOT NULL PRIMARY KEY,
    epoch     BIGINT  NOT NULL,
    connected BOOLEAN NOT NULL,
    since     BIGINT,
    last_beat BIGINT
);

-- An interval that has no end yet lasts until the host's last beat.
CREATE TABLE presence_intervals (
    host    TEXT   NOT NULL,
    from_at BIGINT NOT NULL,
    to_at   BIGINT,
    epoch   BIGINT NOT NULL
);
CREATE UNIQUE INDEX presence_intervals_open ON presence_intervals (host) WHERE to_at IS NULL;
CREATE INDEX presence_intervals_host ON presence_intervals (host, from_at);
