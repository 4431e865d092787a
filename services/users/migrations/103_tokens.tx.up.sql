-- Personal access tokens. Like sessions, they are kept for a while after they ended, so that nobody misses it.
CREATE TABLE tokens (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version      bigint      NOT NULL DEFAULT 1 CONSTRAINT tokens_version_check CHECK (version > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    user_id      bigint      NOT NULL CONSTRAINT tokens_user_id_fkey REFERENCES users,
    name         text        NOT NULL CONSTRAINT tokens_name_check CHECK (char_length(name) BETWEEN 1 AND 100),
    -- SHA-256 of the secret, which has so many random bits that no guessing finds it.
    hash         bytea       NOT NULL CONSTRAINT tokens_hash_check CHECK (length(hash) = 32),
    scopes       text[]      NOT NULL CONSTRAINT tokens_scopes_check CHECK (cardinality(scopes) > 0),
    -- Of the projects service; null is all.
    project_ids  bigint[] CONSTRAINT tokens_project_ids_check CHECK (cardinality(project_ids) > 0),
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT tokens_hash_key UNIQUE (hash)
);

CREATE INDEX tokens_user_id ON tokens (user_id, id);
CREATE INDEX tokens_revoked_at ON tokens (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX tokens_expires_at ON tokens (expires_at);
