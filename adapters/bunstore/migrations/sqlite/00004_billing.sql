-- +goose Up
-- The balance of an unguarded account is the sum of its entries: a row that every
-- settlement writes would be a queue for all of them.
CREATE TABLE ledger_accounts (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    code     TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    guarded  BOOLEAN NOT NULL,
    balance  BIGINT  NOT NULL,
    version  BIGINT  NOT NULL,
    CHECK (balance >= 0)
);
CREATE UNIQUE INDEX ledger_accounts_code ON ledger_accounts (code, currency);

CREATE TABLE ledger_txs (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    currency TEXT NOT NULL,
    job_id   TEXT,
    memo     TEXT NOT NULL,
    at       BIGINT
);
CREATE UNIQUE INDEX ledger_txs_key ON ledger_txs (key);
CREATE INDEX ledger_txs_job ON ledger_txs (job_id, id) WHERE job_id IS NOT NULL;
CREATE INDEX ledger_txs_holds ON ledger_txs (at, id) WHERE kind = 'hold';

CREATE TABLE ledger_entries (
    tx_id      TEXT    NOT NULL REFERENCES ledger_txs (id),
    account_id INTEGER NOT NULL REFERENCES ledger_accounts (id),
    amount     BIGINT  NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (tx_id, account_id)
);
CREATE INDEX ledger_entries_account ON ledger_entries (account_id, tx_id, amount);

-- +goose StatementBegin
CREATE TRIGGER ledger_txs_immutable_update BEFORE UPDATE ON ledger_txs
BEGIN SELECT RAISE(ABORT, 'the ledger is immutable'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_txs_immutable_delete BEFORE DELETE ON ledger_txs
BEGIN SELECT RAISE(ABORT, 'the ledger is immutable'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_entries_immutable_update BEFORE UPDATE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'the ledger is immutable'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_entries_immutable_delete BEFORE DELETE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'the ledger is immutable'); END;
-- +goose StatementEnd
