-- Refresh tokens now begin with their session's id, and follow from one another. Those from before could not be used
-- yet: whoever has one signs in again.
DELETE FROM sessions;

ALTER TABLE sessions
    DROP CONSTRAINT sessions_refresh_hash_key,
    ADD COLUMN version      bigint      NOT NULL DEFAULT 1 CONSTRAINT sessions_version_check CHECK (version > 0),
    ADD COLUMN last_used_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN device       text        NOT NULL CONSTRAINT sessions_device_check CHECK (char_length(device) <= 200),
    -- SHA-256 of what all refresh tokens of the session share.
    ADD COLUMN family_hash  bytea       NOT NULL CONSTRAINT sessions_family_hash_check CHECK (length(family_hash) = 32),
    -- What the present refresh token was derived with from the one before; absent in the first.
    ADD COLUMN salt         bytea CONSTRAINT sessions_salt_check CHECK (length(salt) = 32);

-- For the list of what ended lately, which every verifying process asks for all the time, and for the purge.
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX sessions_expires_at ON sessions (expires_at);
