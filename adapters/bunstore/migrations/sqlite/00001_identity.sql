-- +goose Up
-- Ids are lower-case UUIDs with dashes, times are microseconds since 1970 (UTC), and
-- NULL stands for a zero id or time. Money is in millionths.
CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    version       BIGINT  NOT NULL,
    email         TEXT    NOT NULL,
    handle        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    roles         TEXT    NOT NULL,
    disabled      BOOLEAN NOT NULL,
    created_at    BIGINT,
    accepted_at   BIGINT
);
CREATE UNIQUE INDEX users_email ON users (email);
CREATE UNIQUE INDEX users_handle ON users (handle);

CREATE TABLE sessions (
    id           TEXT   NOT NULL PRIMARY KEY,
    user_id      TEXT,
    version      BIGINT NOT NULL,
    token_hash   BLOB,
    prev_hash    BLOB,
    created_at   BIGINT,
    refreshed_at BIGINT,
    revoked_at   BIGINT,
    user_agent   TEXT   NOT NULL
);
CREATE INDEX sessions_token ON sessions (token_hash);
CREATE INDEX sessions_previous ON sessions (prev_hash);
CREATE INDEX sessions_revoked ON sessions (revoked_at);

CREATE TABLE api_tokens (
    id           TEXT NOT NULL PRIMARY KEY,
    user_id      TEXT,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL,
    prefix       TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    created_at   BIGINT,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE UNIQUE INDEX api_tokens_hash ON api_tokens (hash);
CREATE INDEX api_tokens_user ON api_tokens (user_id, created_at, id);
