-- +goose Up
CREATE TABLE jobs (
    id                  UUID   NOT NULL PRIMARY KEY,
    renter              UUID,
    version             BIGINT NOT NULL,
    state               TEXT   NOT NULL,
    reason              TEXT   NOT NULL,
    detail              TEXT   NOT NULL,
    losses              BIGINT NOT NULL,
    hold                BIGINT NOT NULL,
    cost                BIGINT NOT NULL,
    currency            TEXT   NOT NULL,
    rerun_of            UUID,
    origin              UUID,
    run_version         BIGINT NOT NULL,
    created_at          BIGINT,
    queued_at           BIGINT,
    wait_until          BIGINT,
    finished_at         BIGINT,
    idempotency_key     TEXT   NOT NULL,
    idempotency_request TEXT   NOT NULL,
    bundle_key          TEXT   NOT NULL,
    bundle_size         BIGINT NOT NULL,
    bundle_sha256       TEXT   NOT NULL,
    spec                JSON   NOT NULL,
    phase               JSON   NOT NULL,
    avoid               JSON   NOT NULL,
    sealed_env          BYTEA,
    metrics             BYTEA
);
CREATE UNIQUE INDEX jobs_request ON jobs (renter, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX jobs_renter ON jobs (renter, id);
CREATE INDEX jobs_state ON jobs (state, queued_at, id);
CREATE INDEX jobs_waiting ON jobs (wait_until) WHERE state = 'queued';
CREATE INDEX jobs_origin ON jobs (origin, id);
CREATE INDEX jobs_created ON jobs (created_at);

CREATE TABLE attempts (
    job_id       UUID    NOT NULL REFERENCES jobs (id),
    number       BIGINT  NOT NULL,
    active       BOOLEAN NOT NULL,
    host         UUID,
    host_name    TEXT    NOT NULL,
    host_owner   UUID,
    hourly_price BIGINT  NOT NULL,
    leased_at    BIGINT,
    accepted_at  BIGINT,
    started_at   BIGINT,
    exited_at    BIGINT,
    ended_at     BIGINT,
    outcome      TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    exit_code    BIGINT,
    billable_ms  BIGINT  NOT NULL,
    amount       BIGINT  NOT NULL,
    doc          JSON    NOT NULL,
    PRIMARY KEY (job_id, number)
);
CREATE UNIQUE INDEX attempts_active ON attempts (job_id) WHERE active;
CREATE INDEX attempts_host ON attempts (host, job_id);

CREATE TABLE attempt_devices (
    job_id UUID    NOT NULL,
    number BIGINT  NOT NULL,
    device UUID    NOT NULL,
    active BOOLEAN NOT NULL,
    PRIMARY KEY (job_id, number, device),
    FOREIGN KEY (job_id, number) REFERENCES attempts (job_id, number)
);
CREATE UNIQUE INDEX attempt_devices_active ON attempt_devices (device) WHERE active;

CREATE TABLE log_chunks (
    job_id  UUID   NOT NULL,
    attempt BIGINT NOT NULL,
    start   BIGINT NOT NULL,
    size    BIGINT NOT NULL,
    at      BIGINT,
    data    BYTEA  NOT NULL,
    PRIMARY KEY (job_id, attempt, start)
);

CREATE TABLE artifacts (
    id         UUID    NOT NULL PRIMARY KEY,
    job_id     UUID,
    attempt    BIGINT  NOT NULL,
    path       TEXT    NOT NULL COLLATE "C",
    size       BIGINT  NOT NULL,
    sha256     TEXT    NOT NULL,
    blob_key   TEXT    NOT NULL,
    created_at BIGINT,
    confirmed  BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX artifacts_path ON artifacts (job_id, attempt, path);
