-- +goose Up
-- The host that a settlement pays for.
ALTER TABLE ledger_txs ADD COLUMN host_id UUID;
CREATE INDEX ledger_txs_host ON ledger_txs (host_id, at) WHERE host_id IS NOT NULL;

-- The name of a job in lower case, to search in.
ALTER TABLE jobs ADD COLUMN search TEXT NOT NULL DEFAULT '';
UPDATE jobs SET search = lower(COALESCE(spec ->> 'Name', ''));

-- What ended since when.
CREATE INDEX jobs_finished ON jobs (state, finished_at) WHERE finished_at IS NOT NULL;
