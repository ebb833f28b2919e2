-- +goose Up
CREATE TABLE outbox (
    seq     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id      TEXT    NOT NULL,
    type    TEXT    NOT NULL,
    v       BIGINT  NOT NULL,
    key     TEXT    NOT NULL,
    time    BIGINT,
    data    TEXT    NOT NULL,
    done_at BIGINT
);
CREATE UNIQUE INDEX outbox_id ON outbox (id);
CREATE INDEX outbox_pending ON outbox (seq) WHERE done_at IS NULL;
CREATE INDEX outbox_key ON outbox (key, seq);
