-- +goose Up
-- The balance of an unguarded account is the sum of its entries: a row that every
-- settlement writes would be a queue for all of them.
CREATE TABLE ledger_accounts (
    id       BIGINT  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code     TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    guarded  BOOLEAN NOT NULL,
    balance  BIGINT  NOT NULL,
    version  BIGINT  NOT NULL,
    CHECK (balance >= 0)
);
CREATE UNIQUE INDEX ledger_accounts_code ON ledger_accounts (code, currency);

CREATE TABLE ledger_txs (
    id       UUID NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    currency TEXT NOT NULL,
    job_id   UUID,
    memo     TEXT NOT NULL,
    at       BIGINT
);
CREATE UNIQUE INDEX ledger_txs_key ON ledger_txs (key);
CREATE INDEX ledger_txs_job ON ledger_txs (job_id, id) WHERE job_id IS NOT NULL;
CREATE INDEX ledger_txs_holds ON ledger_txs (at, id) WHERE kind = 'hold';

CREATE TABLE ledger_entries (
    tx_id      UUID   NOT NULL REFERENCES ledger_txs (id),
    account_id BIGINT NOT NULL REFERENCES ledger_accounts (id),
    amount     BIGINT NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (tx_id, account_id)
);
CREATE INDEX ledger_entries_account ON ledger_entries (account_id, tx_id, amount);

-- +goose StatementBegin
CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the ledger is immutable'; END;
$$;
-- +goose StatementEnd
CREATE TRIGGER ledger_txs_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_txs
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER ledger_entries_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
