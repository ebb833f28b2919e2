-- +goose Up
CREATE TABLE outbox (
    seq     BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      UUID   NOT NULL,
    type    TEXT   NOT NULL,
    v       BIGINT NOT NULL,
    key     UUID   NOT NULL,
    time    BIGINT,
    data    JSON   NOT NULL,
    done_at BIGINT
);
CREATE UNIQUE INDEX outbox_id ON outbox (id);
CREATE INDEX outbox_pending ON outbox (seq) WHERE done_at IS NULL;
CREATE INDEX outbox_key ON outbox (key, seq);
