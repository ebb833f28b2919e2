-- +goose Up
-- Reruns at the same time may have been given one number until now.
UPDATE jobs SET run_version = (
    SELECT count(*) FROM jobs AS v WHERE v.origin = jobs.origin AND v.id <= jobs.id
) WHERE origin IS NOT NULL;
CREATE UNIQUE INDEX jobs_version ON jobs (origin, run_version);
