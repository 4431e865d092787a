-- The links that were mailed: to set a new password (1), and to make an address the account's (2). A user has one of each
-- at a time. What is stored is the SHA-256 of the 256 random bits in the link.
CREATE TABLE links (
    user_id    bigint      NOT NULL CONSTRAINT links_user_id_fkey REFERENCES users,
    purpose    smallint    NOT NULL CONSTRAINT links_purpose_check CHECK (purpose IN (1, 2)),
    hash       bytea       NOT NULL CONSTRAINT links_hash_check CHECK (length(hash) = 32),
    email      text        NOT NULL CONSTRAINT links_email_check CHECK (char_length(email) BETWEEN 3 AND 254),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, purpose),
    CONSTRAINT links_hash_key UNIQUE (hash)
);

CREATE INDEX links_expires_at ON links (expires_at);

-- Who asked for a link to set a new password. A job looks whether there is such an account: whoever asks must not learn
-- it, and so every request is this one row.
CREATE TABLE resets (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    email      text        NOT NULL CONSTRAINT resets_email_check CHECK (char_length(email) BETWEEN 1 AND 254)
);

-- For the audit trail of one user.
CREATE INDEX events_audit ON events (subject_id, id) WHERE type <> 'user.updated';
