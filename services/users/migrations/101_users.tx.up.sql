-- Enums are the numbers of users.v1: role 1 user, 2 admin.
CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version       bigint      NOT NULL DEFAULT 1 CONSTRAINT users_version_check CHECK (version > 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    deleted_at    timestamptz,
    name          text        NOT NULL CONSTRAINT users_name_check CHECK (char_length(name) BETWEEN 1 AND 200),
    email         text        NOT NULL CONSTRAINT users_email_check CHECK (char_length(email) BETWEEN 3 AND 254),
    role          smallint    NOT NULL CONSTRAINT users_role_check CHECK (role IN (1, 2)),
    active        boolean     NOT NULL,
    password_hash text        NOT NULL CONSTRAINT users_password_check CHECK (password_hash LIKE '$argon2id$%'),
    -- The name only: a search over e-mail addresses would tell strangers who has an account.
    search        tsvector    NOT NULL GENERATED ALWAYS AS (to_tsvector('simple',
        translate(name, '.,:;/_@+-~#%=&<>', repeat(' ', 16)))) STORED
);

-- An address is one account's, however it is written, and free again when the account is deleted.
CREATE UNIQUE INDEX users_email_key ON users (lower(email)) WHERE deleted_at IS NULL;
CREATE INDEX users_id ON users (id) WHERE deleted_at IS NULL;
CREATE INDEX users_name ON users (name, id) WHERE deleted_at IS NULL;
CREATE INDEX users_created_at ON users (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX users_updated_at ON users (updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX users_role ON users (role, id) WHERE deleted_at IS NULL;
CREATE INDEX users_inactive ON users (id) WHERE NOT active AND deleted_at IS NULL;
CREATE INDEX users_search ON users USING gin (search) WHERE deleted_at IS NULL;

CREATE TABLE sessions (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      bigint      NOT NULL CONSTRAINT sessions_user_id_fkey REFERENCES users,
    created_at   timestamptz NOT NULL DEFAULT now(),
    refresh_hash bytea       NOT NULL CONSTRAINT sessions_refresh_hash_check CHECK (length(refresh_hash) = 32),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    CONSTRAINT sessions_refresh_hash_key UNIQUE (refresh_hash)
);

CREATE INDEX sessions_user_id ON sessions (user_id);
