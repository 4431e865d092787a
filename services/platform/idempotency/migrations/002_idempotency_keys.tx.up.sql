-- The answers given to writes that carried an Idempotency-Key. caller_id is 0 for those who are not signed in.
CREATE TABLE idempotency_keys (
    caller_id   bigint      NOT NULL,
    key         text        NOT NULL CONSTRAINT idempotency_keys_key_check CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea       NOT NULL,
    answer      bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller_id, key)
);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
