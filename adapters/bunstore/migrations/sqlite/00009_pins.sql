-- +goose Up
CREATE TABLE image_pins (
    image TEXT NOT NULL PRIMARY KEY,
    ref TEXT NOT NULL,
    digest TEXT NOT NULL,
    pinned_at BIGINT NOT NULL
);
