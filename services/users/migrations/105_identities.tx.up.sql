-- Sign-in with an external provider (OpenID Connect).

-- An account that was made so has no password, which is the empty hash.
ALTER TABLE users DROP CONSTRAINT users_password_check;
ALTER TABLE users ADD CONSTRAINT users_password_check CHECK (password_hash = '' OR password_hash LIKE '$argon2id$%') NOT VALID;
-- The address at which all that signs in to the account was chosen by whoever reads its mail; null while nobody knows. It
-- counts while it is the account's address.
ALTER TABLE users ADD COLUMN proved_email text;

-- Whom the provider's subjects are. A user has one at a provider.
CREATE TABLE identities (
    issuer     text        NOT NULL CONSTRAINT identities_issuer_check CHECK (char_length(issuer) BETWEEN 1 AND 500),
    subject    text        NOT NULL CONSTRAINT identities_subject_check CHECK (char_length(subject) BETWEEN 1 AND 255),
    user_id    bigint      NOT NULL CONSTRAINT identities_user_id_fkey REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject),
    CONSTRAINT identities_user_id_key UNIQUE (user_id, issuer)
);

-- Sign-ins that a browser is on its way with. What is secret is stored as its SHA-256, but for what is sent on to the
-- provider, which is of use only together with the rest.
CREATE TABLE sign_ins (
    hash         bytea       PRIMARY KEY CONSTRAINT sign_ins_hash_check CHECK (length(hash) = 32), -- of the state
    browser_hash bytea       NOT NULL CONSTRAINT sign_ins_browser_hash_check CHECK (length(browser_hash) = 32),
    nonce        text        NOT NULL,
    verifier     text        NOT NULL,
    challenge    text        NOT NULL,
    redirect_uri text        NOT NULL,
    expires_at   timestamptz NOT NULL
);

CREATE INDEX sign_ins_expires_at ON sign_ins (expires_at);

-- What the provider said of those who came back, until their app asks for it.
CREATE TABLE sign_in_codes (
    hash           bytea       PRIMARY KEY CONSTRAINT sign_in_codes_hash_check CHECK (length(hash) = 32),
    challenge      text        NOT NULL,
    subject        text        NOT NULL,
    email          text        NOT NULL,
    email_verified boolean     NOT NULL,
    name           text        NOT NULL,
    expires_at     timestamptz NOT NULL
);

CREATE INDEX sign_in_codes_expires_at ON sign_in_codes (expires_at);

-- Nonces of the ID tokens that were accepted, until these expire: each token works once.
CREATE TABLE id_token_nonces (
    hash       bytea       PRIMARY KEY CONSTRAINT id_token_nonces_hash_check CHECK (length(hash) = 32),
    expires_at timestamptz NOT NULL
);

CREATE INDEX id_token_nonces_expires_at ON id_token_nonces (expires_at);
