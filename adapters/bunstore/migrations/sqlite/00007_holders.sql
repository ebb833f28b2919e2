-- +goose Up
CREATE INDEX attempts_holder ON attempts (host, job_id) WHERE active;
